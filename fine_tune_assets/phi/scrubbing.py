"""Finds identifiers in text and puts their kind in their place.

Owns the scrubber: Presidio's analyzer with our rules and the learned tagger, what the report's metadata states, and every name
that was found once. Findings overlap; whatever any of them covers goes. Then the text is looked at a second time. Presidio is
imported when a scrubber is built, so that asking for its version costs nothing.
"""

import importlib.metadata
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
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
from fine_tune_assets.phi.recognizers.plausibility import plausible
from fine_tune_assets.phi.recognizers.propagation import propagate_names
from fine_tune_assets.phi.recognizers.second_pass import find_leaks
from fine_tune_assets.phi.recognizers.short_dates import days_like_others
from fine_tune_assets.phi.recognizers.widening import widened
from fine_tune_assets.phi.spans.spans import Span, merge_spans, moved_spans, replace_spans
from fine_tune_assets.recipes.schema import ScrubSettings

BATCH_SIZE = 32
TAGGER = "tagger"
"""Of `entity_model`: the tagger that comes with this package."""
SPACY = "spacy:"
_PACKAGES = ("presidio-analyzer", "spacy", "onnxruntime", "tokenizers")
_HERE = Path(__file__).parent
_SHIPPED_TAGGER = _HERE / "tagger" / "model"

KnownIdentifiers = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class ScrubbedText:
    text: str
    """With `[KIND]` in place of each identifier."""
    spans: tuple[Span, ...]
    """Offsets into the raw text."""
    leaks: Mapping[str, int] = field(default_factory=dict)
    """What the second pass still finds: kind → count. A report with any is held back."""
    doubtful: tuple[Span, ...] = ()
    """What the tagger is less sure of, from the hold score on; offsets into `text`. Not kept in the cache."""


def scrubber_version(settings: ScrubSettings) -> str:
    """Fingerprint of all that decides what is removed: settings, installed versions, our own rules and the tagger."""
    packages = (
        (*_PACKAGES, settings.entity_model.removeprefix(SPACY))
        if settings.entity_model.startswith(SPACY)
        else _PACKAGES
    )
    decisive = {name: getattr(settings, name) for name in _DECISIVE}
    return fingerprint_json(
        {
            "settings": decisive,
            "installed": {name: _installed_version(name) for name in packages},
            "rules": own_rules_fingerprint(),
            "model": _model_fingerprint(settings.entity_model),
        }
    )


_DECISIVE = ("entity_model", "minimum_score", "hold_score", "replacement", "profile", "day_first_dates", "shift_dates")
"""Settings that decide what comes out. Floors decide only whether it may."""


_USED_OF_OTHERS = (
    "core/word_lists.py",
    "quantities/dates.py",
    "quantities/spelled_numbers.py",
    "quantities/reference/date_words.txt",
    *(
        f"packs/clinical/{name}.txt"
        for name in ("abbreviations", "disease_names", "eponyms", "medicines", "ordinary_words")
    ),
)
_NOT_DECISIVE = {"tagger_training", "measurement", "marks.py", "span_cache.py"}
"""Folders and modules that only train, measure or keep."""


@cache
def own_rules_fingerprint() -> str:
    """Fingerprint of `decisive_files`, by their names below the package."""
    return fingerprint_json({str(path.relative_to(PACKAGE_DIR)): fingerprint_file(path) for path in decisive_files()})


def decisive_files() -> list[Path]:
    """Modules and lists that decide what is removed: of this package, and what it uses of others."""
    every = (path for path in _HERE.rglob("*") if path.suffix in (".py", ".txt", ".csv"))
    own = (path for path in every if not _NOT_DECISIVE.intersection(path.relative_to(_HERE).parts))
    return sorted([*own, *(PACKAGE_DIR / name for name in _USED_OF_OTHERS)])


def _model_fingerprint(entity_model: str) -> str | None:
    if entity_model.startswith(SPACY):
        return None
    folder = model_folder(entity_model)
    return _folder_fingerprint(folder, fingerprint_listing(folder))


@lru_cache(maxsize=4)
def _folder_fingerprint(folder: Path, _listed: str) -> str:
    return fingerprint_folder(folder)


def model_folder(entity_model: str) -> Path:
    """The folder that `entity_model` names, relative to the data folder. Raises ScrubberError if there is none."""
    named = load_settings().data_dir / Path(entity_model).expanduser()
    folder = _SHIPPED_TAGGER if entity_model == TAGGER else named
    if not folder.is_dir():
        raise ScrubberError(
            f"There is no folder {entity_model}. `entity_model` is `tagger`, `spacy:PACKAGE` or a local Hugging Face folder."
        )
    return folder


def _installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


class Scrubber:
    """Built once for many texts: building takes seconds."""

    def __init__(self, analyzer: Any, settings: ScrubSettings) -> None:
        self._analyzer = analyzer
        self._minimum_score = settings.minimum_score
        self._hold_score = settings.hold_score
        self.version = scrubber_version(settings)

    def scrub(self, text: str, known_identifiers: KnownIdentifiers) -> ScrubbedText:
        return next(self.scrub_all([(text, known_identifiers)]))

    def scrub_all(self, items: Sequence[tuple[str, KnownIdentifiers]]) -> Iterator[ScrubbedText]:
        """The texts, each with its known identifiers, in their order; the model takes them in batches."""
        from fine_tune_assets.phi.recognizers.presidio_recognizers import findings, tagged_spans

        for start in range(0, len(items), BATCH_SIZE):
            part = items[start : start + BATCH_SIZE]
            parsed = self._analyzer.nlp_engine.process_batch([text for text, _ in part], "en")
            for (text, known), (_, artifacts) in zip(part, parsed, strict=True):
                found = [s for s in findings(self._analyzer, text, artifacts) if s.score >= self._minimum_score]
                likely = list(plausible(text, found))
                likely += days_like_others(text, likely, getattr(artifacts, "tagged_words", ()))
                spans = _complete(text, [*likely, *find_known_identifiers(text, known)])
                scrubbed = replace_spans(text, spans)
                likely_too = plausible(text, tagged_spans(text, artifacts, self._hold_score))
                doubtful = tuple(moved_spans(likely_too, spans))
                yield ScrubbedText(scrubbed, spans, find_leaks(scrubbed, known, doubtful), doubtful)


def _complete(text: str, found: Sequence[Span]) -> tuple[Span, ...]:
    """The findings as their union, and every other place of a name or number among them."""
    spans = merge_spans(text, found)
    spans = merge_spans(text, [*spans, *widened(text, spans)])
    # Not of the union alone: a name within a longer place or address is a name elsewhere too.
    return merge_spans(text, [*spans, *propagate_names(text, [*spans, *found])])


def build_scrubber(settings: ScrubSettings) -> Scrubber:
    """Load Presidio and the model. Raises ScrubberError if the model is not there: none is downloaded."""
    if settings.entity_model.startswith(SPACY):
        package = settings.entity_model.removeprefix(SPACY)
        # Presidio downloads a model that it does not find.
        if importlib.util.find_spec(package) is None:
            raise ScrubberError(f"The spaCy model {package} is not installed. Install its package with pip.")
        from fine_tune_assets.phi.recognizers.presidio_recognizers import spacy_analyzer

        return Scrubber(spacy_analyzer(package), settings)
    folder = model_folder(settings.entity_model)
    from fine_tune_assets.phi.recognizers.presidio_recognizers import hugging_face_analyzer, tagger_analyzer
    from fine_tune_assets.phi.tagger.prediction import MODEL_FILE

    build = tagger_analyzer if (folder / MODEL_FILE).is_file() else hugging_face_analyzer
    return Scrubber(build(folder, settings.minimum_score), settings)
