"""Finds identifiers in text and puts their kind in their place.

Owns the scrubber: Presidio with a spaCy model for names and places, our own patterns for what has a form, and what the
report's metadata states. Findings overlap; whatever any of them covers goes. Presidio and spaCy are imported when a
scrubber is built, so that asking for its version costs nothing.
"""

import importlib.metadata
import importlib.util
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_json, fingerprint_text
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.tables import PHI_SPANS, SCRUBBED_REPORTS, table_of
from fine_tune_assets.phi.known_identifiers import find_known_identifiers
from fine_tune_assets.phi.ordinary_words import name_like_parts, protected_lines
from fine_tune_assets.phi.patterns import find_patterns
from fine_tune_assets.phi.spans import Span, merge_spans, replace_spans
from fine_tune_assets.recipes.schema import ScrubSettings

BATCH_SIZE = 32
_PACKAGES = ("presidio-analyzer", "spacy", "phonenumbers")
_OWN_RULES = ("known_identifiers.py", "ordinary_words.py", "patterns.py", "scrubbing.py", "spans.py")
_LABEL_OF_ENTITY = {
    "PERSON": "NAME",
    "LOCATION": "LOCATION",
    "PHONE_NUMBER": "PHONE",
    "IP_ADDRESS": "ID",
    "MAC_ADDRESS": "ID",
    "UUID": "ID",
    "US_SSN": "SSN",
    "US_ITIN": "SSN",
    "US_PASSPORT": "ID",
    "US_BANK_NUMBER": "ID",
    "UK_NHS": "ID",
    "MEDICAL_LICENSE": "ID",
    "CREDIT_CARD": "ID",
    "IBAN_CODE": "ID",
    "CRYPTO": "ID",
}
"""Presidio's entities that are used. Not DATE_TIME: it masks "two weeks" and "50-year-old"; our patterns know dates.
Not US_DRIVER_LICENSE: it masks vertebrae (C6, L5)."""
_TRIMMED_LABELS = {"NAME", "LOCATION", "FACILITY"}
_FEWEST_PHONE_DIGITS = 7

KnownIdentifiers = Sequence[Mapping[str, str]]


class ScrubberError(FineTuneError):
    """The scrubber can't be built as the recipe wants it."""


@dataclass(frozen=True)
class ScrubbedText:
    text: str
    spans: tuple[Span, ...]
    """Offsets into the raw text."""


def scrubber_version(settings: ScrubSettings) -> str:
    """Fingerprint of all that decides what is removed: settings, installed versions and our own rules."""
    installed = {name: _installed_version(name) for name in (*_PACKAGES, settings.spacy_model)}
    rules = {name: fingerprint_file(Path(__file__).with_name(name)) for name in _OWN_RULES}
    decisive = {key: value for key, value in asdict(settings).items() if key != "recall_floor"}
    return fingerprint_json({"settings": decisive, "installed": installed, "rules": rules})


def _installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


_TITLE = re.compile(r"^(?:dr|mr|mrs|ms|miss|prof|doctor|professor)\.?\s+", re.IGNORECASE)


class Scrubber:
    """Built once for many texts: building takes about ten seconds."""

    def __init__(self, engine: Any, settings: ScrubSettings) -> None:
        self._engine = engine
        self._minimum_score = settings.minimum_score
        self.version = scrubber_version(settings)

    def scrub(self, text: str, known_identifiers: KnownIdentifiers) -> ScrubbedText:
        return next(self.scrub_all([(text, known_identifiers)]))

    def scrub_all(self, items: Sequence[tuple[str, KnownIdentifiers]]) -> Iterator[ScrubbedText]:
        """The texts, each with its known identifiers, in their order; spaCy takes them in batches."""
        parsed = self._engine.nlp_engine.process_batch([text for text, _ in items], "en", batch_size=BATCH_SIZE)
        for (text, known), (_, artifacts) in zip(items, parsed, strict=True):
            guessed = [*self._presidio(text, artifacts), *find_patterns(text)]
            likely = [span for span in guessed if span.score >= self._minimum_score]
            spans = merge_spans(text, [*_plausible(text, likely), *find_known_identifiers(text, known)])
            yield ScrubbedText(replace_spans(text, spans), spans)

    def _presidio(self, text: str, artifacts: Any) -> Iterator[Span]:
        found = self._engine.analyze(
            text=text, language="en", nlp_artifacts=artifacts, entities=list(_LABEL_OF_ENTITY), score_threshold=0
        )
        for f in found:
            rule = f"presidio_{f.entity_type.lower()}"
            yield Span(f.start, f.end, _LABEL_OF_ENTITY[f.entity_type], rule, round(float(f.score), 3))


def build_scrubber(settings: ScrubSettings) -> Scrubber:
    """Load Presidio and the spaCy model. Raises ScrubberError if the model is not installed: none is downloaded."""
    # Presidio downloads a model that it does not find.
    if importlib.util.find_spec(settings.spacy_model) is None:
        raise ScrubberError(f"The spaCy model {settings.spacy_model} is not installed. Install its package with pip.")
    # Imported here: they take about 10 s, and the version is asked for without them.
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine

    nlp = SpacyNlpEngine(
        models=[{"lang_code": "en", "model_name": settings.spacy_model}],
        ner_model_configuration=NerModelConfiguration(
            model_to_presidio_entity_mapping={
                "PERSON": "PERSON",
                "FAC": "LOCATION",
                "LOC": "LOCATION",
                "GPE": "LOCATION",
            },
            low_score_entity_names=[],
            labels_to_ignore=_SPACY_LABELS_NOT_USED,
        ),
    )
    nlp.load()
    registry = RecognizerRegistry(supported_languages=["en"])
    registry.load_predefined_recognizers(languages=["en"], nlp_engine=nlp)
    for name in _CALLING_OUT:
        registry.remove_recognizer(name)
    return Scrubber(AnalyzerEngine(nlp_engine=nlp, registry=registry, supported_languages=["en"]), settings)


# They ask the internet for the public suffix list (tldextract) when they meet an address. Our patterns replace them.
_CALLING_OUT = ("EmailRecognizer", "UrlRecognizer")
_SPACY_LABELS_NOT_USED = [
    "CARDINAL", "DATE", "EVENT", "LANGUAGE", "LAW", "MONEY", "NORP", "ORDINAL", "ORG", "PERCENT", "PRODUCT", "QUANTITY",
    "TIME", "WORK_OF_ART",
]  # fmt: skip


def scrub_reports(reports: pa.Table, scrubber: Scrubber, progress: Progress) -> tuple[pa.Table, pa.Table]:
    """SCRUBBED_REPORTS and PHI_SPANS of REPORTS, in their order."""
    rows: list[dict[str, Any]] = []
    spans: list[dict[str, Any]] = []
    for batch in reports.to_batches(max_chunksize=BATCH_SIZE):
        raw = batch.to_pylist()
        for report, scrubbed in zip(raw, scrubber.scrub_all([_item(r) for r in raw]), strict=True):
            rows.append(_scrubbed_row(report, scrubbed, scrubber.version))
            spans += [{"report_id": report["report_id"], **asdict(span)} for span in scrubbed.spans]
        progress(len(rows), reports.num_rows, "reports scrubbed")
    return table_of(rows, SCRUBBED_REPORTS), table_of(spans, PHI_SPANS)


def scrub_columns(table: pa.Table, columns: Sequence[str], scrubber: Scrubber, progress: Progress) -> pa.Table:
    """The table with each of the text columns scrubbed. A name that is found in one column of a row goes from all of them."""
    named: list[list[dict[str, str]]] = [[] for _ in range(table.num_rows)]
    for name in columns:
        texts = table.column(name).to_pylist()
        for names, text, found in zip(named, texts, scrubber.scrub_all([(text, ()) for text in texts]), strict=True):
            values = (_TITLE.sub("", text[span.start : span.end]) for span in found.spans if span.label == "NAME")
            names += [{"kind": "name", "value": value} for value in values if value]
    for done, name in enumerate(columns, start=1):
        texts_and_names = list(zip(table.column(name).to_pylist(), named, strict=True))
        scrubbed = pa.array([s.text for s in scrubber.scrub_all(texts_and_names)], pa.string())
        position = table.schema.get_field_index(name)
        table = table.set_column(position, table.schema.field(name), scrubbed)
        progress(done, len(columns), "columns scrubbed")
    return table


def count_by_label(spans: pa.Table) -> dict[str, int]:
    return dict(sorted(Counter(spans.column("label").to_pylist()).items()))


def _item(report: Mapping[str, Any]) -> tuple[str, KnownIdentifiers]:
    return report["text"], report["known_identifiers"]


def _scrubbed_row(report: Mapping[str, Any], scrubbed: ScrubbedText, version: str) -> dict[str, Any]:
    kept = {name: report[name] for name in ("report_id", "batch", "source", "patient_key")}
    return {
        **kept,
        "text": scrubbed.text,
        "span_count": len(scrubbed.spans),
        "scrubber_version": version,
        "fingerprint": fingerprint_text(scrubbed.text),
    }


def _plausible(text: str, spans: Sequence[Span]) -> Iterator[Span]:
    """Findings without what is certainly no identifier: ordinary words at their ends, and section headings."""
    headings = protected_lines(text)
    for span in spans:
        # Presidio takes a blood pressure of 169/74 for a telephone number.
        if span.label == "PHONE" and sum(c.isdigit() for c in text[span.start : span.end]) < _FEWEST_PHONE_DIGITS:
            continue
        is_trimmed = span.label in _TRIMMED_LABELS and span.rule not in _TRUSTED_RULES
        whole = [(span.start, span.end)]
        parts = name_like_parts(text, *whole[0], span.label == "FACILITY") if is_trimmed else whole
        for start, end in parts:
            if not any(start < stop and begin < end for begin, stop in headings):
                yield Span(start, end, span.label, span.rule, span.score)


_TRUSTED_RULES = {
    "street_address",
    "post_box",
    "zip_code",
    "uk_postcode",
    "title_name",
    "lower_case_doctor",
    "saint_site",
    "known_care_site",
}
"""Rules whose context makes even an ordinary word a name: Dr. Bell."""
