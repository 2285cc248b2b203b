"""Finds identifiers in a text and replaces each with its kind.

A scrubber combines Presidio's analyzer with our rules and the trained tagger, the known identifiers from the report's metadata,
and repeated occurrences of names and numbers that were found once. It removes the union of all findings, then runs a second pass.
Presidio is imported when a scrubber is built, so that reading the version stays cheap.
"""

import importlib.metadata
import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import ScrubberError
from fine_tune_assets.core.fingerprints import (
    fingerprint_file,
    fingerprint_folder,
    fingerprint_json,
    fingerprint_listing,
)
from fine_tune_assets.core.paths import PACKAGE_DIR
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.phi.known_identifiers.finder import find_known_identifiers
from fine_tune_assets.phi.recognizers.completion.span_completion import complete_spans
from fine_tune_assets.phi.recognizers.domain_rules import DomainRules, load_rules
from fine_tune_assets.phi.recognizers.plausibility import drop_implausible
from fine_tune_assets.phi.recognizers.propagation import propagate_spans
from fine_tune_assets.phi.recognizers.second_pass import find_residual_phi
from fine_tune_assets.phi.recognizers.short_dates import find_corroborated_dates
from fine_tune_assets.phi.recognizers.span_expansion import expand_spans
from fine_tune_assets.phi.spans.spans import Span, merge_spans, replace_spans, shift_spans
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.recipes.schema import ScrubberSettings

BATCH_SIZE = 32
BUNDLED_TAGGER = "tagger"
"""Value of `entity_model` for the bundled tagger that the domain pack names."""
SPACY_PREFIX = "spacy:"
_PACKAGES = ("presidio-analyzer", "spacy", "onnxruntime", "tokenizers")
_HERE = Path(__file__).parent
_BUNDLED_TAGGERS_DIR = _HERE / "tagger" / "models"

NOT_SCRUBBED = "NOT_SCRUBBED"
"""Kind of the residual PHI of a text that took too much time or memory: any identifier may be left."""

KnownIdentifiers = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class ScrubbedText:
    text: str
    """With `[KIND]` in place of each identifier."""
    spans: tuple[Span, ...]
    """Offsets into the raw text."""
    residual_phi: Mapping[str, int] = field(default_factory=dict)
    """Residual PHI found by the second pass: kind → count. Any entry withholds the report."""
    uncertain_spans: tuple[Span, ...] = ()
    """Words that the tagger scores from `withhold_score` up to its threshold; offsets into `text`. Not cached."""


def scrubber_version(settings: ScrubberSettings) -> str:
    """Fingerprint of everything that decides what is removed: settings, installed versions, rules, domain pack and tagger."""
    packages = (
        (*_PACKAGES, settings.entity_model.removeprefix(SPACY_PREFIX))
        if settings.entity_model.startswith(SPACY_PREFIX)
        else _PACKAGES
    )
    versioned = {name: getattr(settings, name) for name in _VERSIONED_SETTINGS}
    return fingerprint_json(
        {
            "settings": versioned,
            "installed": {name: _read_installed_version(name) for name in packages},
            "rules": fingerprint_rules(),
            "domain": load_pack(settings.domain).fingerprint(["scrub"]),
            "model": _fingerprint_model(settings),
        }
    )


_VERSIONED_SETTINGS = (
    "entity_model",
    "minimum_score",
    "withhold_score",
    "replacement",
    "profile",
    "day_first_dates",
    "shift_dates",
)
"""Settings that change the scrubbed text. Recall floors only decide whether scrubbing may run."""


_EXTERNAL_RULE_FILES = (
    "core/word_lists.py",
    "quantities/dates.py",
    "quantities/metadata_dates.py",
    "quantities/spelled_numbers.py",
    "quantities/reference/date_words.txt",
)
_UNVERSIONED_PATHS = {"tagger_training", "measurement", "marks.py", "scrub_workers.py", "span_cache.py"}
"""Folders and modules that only train, measure, store or start processes."""


@cache
def fingerprint_rules() -> str:
    return fingerprint_json({str(path.relative_to(PACKAGE_DIR)): fingerprint_file(path) for path in list_rule_files()})


def list_rule_files() -> list[Path]:
    """Modules and word lists that decide what is removed, in this package and in those that it imports."""
    every = (path for path in _HERE.rglob("*") if path.suffix in (".py", ".txt", ".csv"))
    own = (path for path in every if not _UNVERSIONED_PATHS.intersection(path.relative_to(_HERE).parts))
    return sorted([*own, *(PACKAGE_DIR / name for name in _EXTERNAL_RULE_FILES)])


def _fingerprint_model(settings: ScrubberSettings) -> str | None:
    if settings.entity_model.startswith(SPACY_PREFIX):
        return None
    folder = find_model_folder(settings)
    return _fingerprint_model_folder(folder, fingerprint_listing(folder))


@lru_cache(maxsize=4)
def _fingerprint_model_folder(folder: Path, _listing: str) -> str:
    return fingerprint_folder(folder)


def find_model_folder(settings: ScrubberSettings) -> Path:
    """The domain's bundled tagger, or the folder of `entity_model` below the data folder; if missing, raises ScrubberError."""
    if settings.entity_model == BUNDLED_TAGGER:
        return _BUNDLED_TAGGERS_DIR / load_pack(settings.domain).pack.tagger
    folder = load_settings().data_dir / Path(settings.entity_model).expanduser()
    if not folder.is_dir():
        raise ScrubberError(
            f"Folder {settings.entity_model} not found. Set `entity_model` to `tagger`, `spacy:PACKAGE` or a local Hugging Face "
            "folder."
        )
    return folder


def _read_installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


class Scrubber:
    """Reusable for many texts; building one takes seconds."""

    def __init__(self, analyzer: Any, settings: ScrubberSettings, domain: DomainRules) -> None:
        self._analyzer, self._domain = analyzer, domain
        self._minimum_score = settings.minimum_score
        self._withhold_score = settings.withhold_score
        self.version = scrubber_version(settings)

    def scrub(self, text: str, known_identifiers: KnownIdentifiers) -> ScrubbedText:
        return next(self.scrub_all([(text, known_identifiers)]))

    def scrub_all(self, items: Sequence[tuple[str, KnownIdentifiers]]) -> Iterator[ScrubbedText]:
        """Scrub texts with their known identifiers, in order. The model runs in batches."""
        from fine_tune_assets.phi.recognizers.presidio_recognizers import find_spans, find_tagged_spans

        domain = self._domain
        for start in range(0, len(items), BATCH_SIZE):
            part = items[start : start + BATCH_SIZE]
            parsed = self._analyzer.nlp_engine.process_batch([text for text, _ in part], "en")
            for (text, known), (_, artifacts) in zip(part, parsed, strict=True):
                every = find_spans(self._analyzer, text, artifacts, domain.presidio)
                found = [s for s in every if s.score >= self._minimum_score]
                likely = self._drop_unlikely(text, found)
                dates = find_corroborated_dates(text, likely, getattr(artifacts, "tagged_words", ()))
                likely += domain.drop_kept(text, dates)
                known_spans = find_known_identifiers(text, known, domain.vocabulary)
                certain = [*domain.prefer_own_kinds(text, likely), *domain.name_known(known_spans, likely)]
                spans = _merge_and_expand(text, certain, domain)
                scrubbed = replace_spans(text, spans)
                likely_too = self._drop_unlikely(text, find_tagged_spans(text, artifacts, self._withhold_score))
                # Again after the shift: of a name and its next word, only the word is left.
                uncertain = tuple(domain.drop_kept(scrubbed, shift_spans(likely_too, spans)))
                yield ScrubbedText(scrubbed, spans, find_residual_phi(scrubbed, known, uncertain, domain), uncertain)

    def _drop_unlikely(self, text: str, spans: Iterable[Span]) -> list[Span]:
        return list(self._domain.drop_kept(text, drop_implausible(text, spans, self._domain.vocabulary)))


def _merge_and_expand(text: str, found: Sequence[Span], domain: DomainRules) -> tuple[Span, ...]:
    """The union of the findings, with every other occurrence of the names and numbers among them, each as a whole."""
    spans = merge_spans(text, found)
    spans = merge_spans(text, [*spans, *expand_spans(text, spans, domain.vocabulary)])
    # Propagate each finding, not only the union: a name inside a longer place or address occurs elsewhere too.
    spans = merge_spans(text, [*spans, *propagate_spans(text, [*spans, *found], domain)])
    return complete_spans(text, spans, domain)


def build_scrubber(settings: ScrubberSettings) -> Scrubber:
    """Load Presidio and the model. Raises ScrubberError if the model is missing; nothing is downloaded."""
    domain = load_rules(settings.domain)
    if settings.entity_model.startswith(SPACY_PREFIX):
        package = settings.entity_model.removeprefix(SPACY_PREFIX)
        # Presidio downloads a missing model.
        if importlib.util.find_spec(package) is None:
            raise ScrubberError(f"The spaCy model {package} is not installed. Install its package with pip.")
        from fine_tune_assets.phi.recognizers.presidio_recognizers import build_spacy_analyzer

        return Scrubber(build_spacy_analyzer(package, domain), settings, domain)
    folder = find_model_folder(settings)
    from fine_tune_assets.phi.recognizers.presidio_recognizers import build_hugging_face_analyzer, build_tagger_analyzer
    from fine_tune_assets.phi.tagger.prediction import MODEL_FILE

    build = build_tagger_analyzer if (folder / MODEL_FILE).is_file() else build_hugging_face_analyzer
    return Scrubber(build(folder, settings.minimum_score, domain), settings, domain)
