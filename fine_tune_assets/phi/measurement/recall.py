"""Measures a scrubber on labelled documents: what it removes, misses and removes unnecessarily.

An identifier is masked if every character except white space is inside some finding, of any kind. Labelled sets are measured
without known identifiers, so recall is a lower bound for reports with metadata.
"""

import json
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.proportions import wilson_interval
from fine_tune_assets.phi.missed_identifiers.missed_terms import REVIEWER_MARKS
from fine_tune_assets.phi.scrub_workers import ScrubWorkers
from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets.tables.record_classes import iter_records, table_from_records
from fine_tune_assets.tables.scrubbing_rows import ScrubRecall

ALL, DIRECT = "all", "direct"
_WORD = re.compile(r"\w+")
_KIND_BY_LABEL: Mapping[str, str] = {
    **dict.fromkeys(("NAME", "PERSON", "PATIENT", "DOCTOR"), "NAME"),
    **dict.fromkeys(("DATE", "DATE_TIME"), "DATE"),
    **dict.fromkeys(("AGE",), "AGE"),
    **dict.fromkeys(
        ("LOCATION", "GEOGRAPHIC_LOCATION", "ADDRESS", "STREET_ADDRESS", "GPE", "ZIP_CODE", "GEO", "CITY", "ZIP"),
        "LOCATION",
    ),
    **dict.fromkeys(("FACILITY", "HOSPITAL", "ORG", "ORGANIZATION", "EMPLOYER"), "FACILITY"),
    **dict.fromkeys(("PHONE", "PHONE_NUMBER", "FAX_NUMBER", "FAX"), "PHONE"),
    **dict.fromkeys(("EMAIL", "EMAIL_ADDRESS"), "EMAIL"),
    **dict.fromkeys(("URL", "DOMAIN_NAME"), "URL"),
    **dict.fromkeys(("IP", "IP_ADDRESS"), "IP"),
    **dict.fromkeys(("SSN", "US_SSN", "SOCIAL_SECURITY_NUMBER"), "SSN"),
    "OTHER": "OTHER",
}
"""Label → kind in the typed measures. Any other label is an identifying number, ID: also the kinds that a domain pack adds."""
_DIRECT_KINDS = {"NAME", "PHONE", "EMAIL", "SSN", "ID"}
_DIRECT_LABELS = {"ADDRESS", "STREET_ADDRESS"}


@dataclass(frozen=True)
class GoldDocument:
    text: str
    spans: tuple[Span, ...]
    """Identifiers as labelled by people."""
    is_whole: bool = True
    """False if only some kinds were labelled."""


@dataclass(frozen=True)
class Measure:
    name: str
    label: str
    hits: int | None
    """None for an F1, which is not a proportion."""
    total: int | None
    value: float
    low: float | None
    high: float | None


def group_label(label: str) -> str:
    return _KIND_BY_LABEL.get(label.upper(), "ID")


def is_direct(label: str, indirect_kinds: Container[str] = ()) -> bool:
    """Whether the label identifies a person directly: name, number, telephone, e-mail, SSN, street address.

    `indirect_kinds` are kinds of the domain pack that do not.
    """
    if label.upper() in indirect_kinds:
        return False
    return label.upper() in _DIRECT_LABELS or group_label(label) in _DIRECT_KINDS


def measure_documents(
    documents: Sequence[GoldDocument], found: Iterable[Sequence[Span]], indirect_kinds: Container[str] = ()
) -> list[Measure]:
    """All measures of one labelled set.

    If only some kinds were labelled, over-redaction is unknown, so only recall is measured.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for document, spans in zip(documents, found, strict=True):
        counts.update(_count_matches(document.text, document.spans, spans, indirect_kinds))
    is_whole = all(document.is_whole for document in documents)
    return [
        *_compute_recalls(counts),
        *(_compute_typed_scores(counts) if is_whole else ()),
        *_compute_document_shares(counts, is_whole),
    ]


def _count_matches(
    text: str, gold: Sequence[Span], spans: Sequence[Span], indirect_kinds: Container[str]
) -> Iterator[tuple[str, str]]:
    covered = _mark_covered(text, spans)
    leaks = False
    for g in gold:
        is_masked = all(covered[i] or text[i].isspace() for i in range(g.start, g.end))
        leaks |= not is_masked
        for label in (g.label, ALL, *([DIRECT] if is_direct(g.label, indirect_kinds) else [])):
            yield "gold", label
            if is_masked:
                yield "masked", label
        yield from _count_agreement("gold", g, [s for s in spans if _is_same_kind(g.label, s.label)])
    for s in spans:
        yield "found", ALL
        yield from _count_agreement("found", s, [g for g in gold if _is_same_kind(g.label, s.label)])
    yield ("documents", "phi") if gold else ("documents", "clean")
    if gold and not leaks:
        yield "documents", "without_leak"
    if spans and not gold:
        yield "documents", "clean_hit"
    yield from _count_other_words(text, covered, _mark_covered(text, gold))


def _count_agreement(side: str, span: Span, agreeing: Sequence[Span]) -> Iterator[tuple[str, str]]:
    if any((span.start, span.end) == (other.start, other.end) for other in agreeing):
        yield f"{side}_strict", ALL
    if any(other.start < span.end and span.start < other.end for other in agreeing):
        yield f"{side}_relaxed", ALL


def _is_same_kind(gold: str, found: str) -> bool:
    """Whether the kinds agree. LOCATION also matches FACILITY, because labelled sets differ in how they label a hospital."""
    return group_label(gold) == group_label(found) or (found == "LOCATION" and group_label(gold) == "FACILITY")


def _mark_covered(text: str, spans: Iterable[Span]) -> bytearray:
    covered = bytearray(len(text))
    for span in spans:
        covered[span.start : span.end] = b"\x01" * (span.end - span.start)
    return covered


def _count_other_words(text: str, covered: bytearray, gold: bytearray) -> Iterator[tuple[str, str]]:
    for word in _WORD.finditer(text):
        if not any(gold[word.start() : word.end()]):
            yield "tokens", "other"
            if any(covered[word.start() : word.end()]):
                yield "tokens", "other_masked"


def _compute_recalls(counts: Counter[tuple[str, str]]) -> Iterator[Measure]:
    for name, label in sorted(key for key in counts if key[0] == "gold"):
        yield _compute_share("masked_recall", label, counts["masked", label], counts[name, label])


def _compute_typed_scores(counts: Counter[tuple[str, str]]) -> Iterator[Measure]:
    for manner in ("strict", "relaxed"):
        gold, found = counts["gold", ALL], counts["found", ALL]
        if not gold or not found:
            continue
        recall = _compute_share(f"{manner}_recall", ALL, counts[f"gold_{manner}", ALL], gold)
        precision = _compute_share(f"{manner}_precision", ALL, counts[f"found_{manner}", ALL], found)
        total = recall.value + precision.value
        f1 = 2 * recall.value * precision.value / total if total else 0.0
        yield from (recall, precision, Measure(f"{manner}_f1", ALL, None, None, f1, None, None))


def _compute_document_shares(counts: Counter[tuple[str, str]], is_whole: bool) -> Iterator[Measure]:
    if counts["documents", "phi"]:
        yield _compute_share(
            "documents_fully_masked", ALL, counts["documents", "without_leak"], counts["documents", "phi"]
        )
    if is_whole and counts["documents", "clean"]:
        yield _compute_share(
            "clean_documents_masked", ALL, counts["documents", "clean_hit"], counts["documents", "clean"]
        )
    if is_whole and counts["tokens", "other"]:
        yield _compute_share("non_phi_tokens_masked", ALL, counts["tokens", "other_masked"], counts["tokens", "other"])


def _compute_share(name: str, label: str, hits: int, total: int) -> Measure:
    low, high = wilson_interval(hits, total)
    return Measure(name, label, hits, total, hits / total, low, high)


MASKED_RECALL = "masked_recall"


class GoldFileError(FineTuneError):
    """A file of labelled identifiers cannot be used."""


def measure_recall(
    gold_files: Sequence[Path],
    workers: ScrubWorkers,
    version: str,
    progress: Progress,
    indirect_kinds: Container[str] = (),
) -> pa.Table:
    """`scrub_recall`: one row per file, measure and kind. Raises GoldFileError."""
    if not gold_files:
        raise GoldFileError(
            "No file of labelled identifiers found, so recall cannot be measured. Add a .jsonl file to a folder that the domain "
            "pack names in `labelled_sets`."
        )
    rows: list[ScrubRecall] = []
    for done, path in enumerate(sorted(gold_files), start=1):
        documents = read_gold(path)
        found = workers.scrub([(document.text, ()) for document in documents])
        for m in measure_documents(documents, [one.spans for one in found], indirect_kinds):
            row = {"labelled_set": path.stem, "measure": m.name, "scrubber_version": version, **vars(m)}
            rows.append(ScrubRecall.from_row(row))
        progress(done, len(gold_files), "labelled sets measured")
    return table_from_records(ScrubRecall, rows)


def lowest_recall(table: pa.Table, version: str | None = None, label: str = ALL) -> float | None:
    """The lowest recall on any labelled set, of all or of direct identifiers; of `version` only, if given.

    None if nothing was measured. The set made of reviewers' marks is excluded, because it contains misses only.
    """
    assert label in (ALL, DIRECT)
    found = [
        row.value
        for row in iter_records(ScrubRecall, table)
        if (row.measure, row.label) == (MASKED_RECALL, label)
        and row.labelled_set != REVIEWER_MARKS
        and version in (None, row.scrubber_version)
    ]
    return min(found) if found else None


def read_gold(path: Path) -> list[GoldDocument]:
    """Read lines of JSON with `text` and `spans`, and with `labels` if only some kinds were labelled.

    Raises GoldFileError with the line number.
    """
    documents: list[GoldDocument] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            spans = tuple(Span(s["start"], s["end"], s["label"], "labelled", 1.0) for s in row["spans"])
            is_usable = all(0 <= s.start < s.end <= len(row["text"]) and s.label for s in spans)
            documents.append(GoldDocument(row["text"], spans, "labels" not in row))
        except (ValueError, KeyError, TypeError) as error:
            raise GoldFileError(f"{path.name}, line {number}: `text` or `spans` is missing or invalid.") from error
        if not is_usable:
            raise GoldFileError(f"{path.name}, line {number}: a span lies outside the text or has no label.")
    if not any(document.spans for document in documents):
        raise GoldFileError(f"{path.name} labels no identifier, so recall cannot be measured on it.")
    return documents
