"""How good a scrubber is on labelled documents: what it removes, what it leaves, and what it removes without need.

An identifier is masked if each of its characters but spaces is under some finding, of whatever kind. A labelled set is measured
without known identifiers, so recall is a floor for reports that state theirs.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.proportions import wilson_interval
from fine_tune_assets.phi.missed_identifiers.terms import MARKED_BY_REVIEWERS
from fine_tune_assets.phi.spans.spans import Offsets, Span
from fine_tune_assets.phi.workers import Workers
from fine_tune_assets.tables.phi import ScrubRecall
from fine_tune_assets.tables.records import table_of

ALL, DIRECT = "all", "direct"
_WORD = re.compile(r"\w+")
_GROUPS: Mapping[str, str] = {
    **dict.fromkeys(("NAME", "PERSON", "PATIENT", "DOCTOR"), "NAME"),
    **dict.fromkeys(("DATE", "DATE_TIME"), "DATE"),
    **dict.fromkeys(("AGE",), "AGE"),
    **dict.fromkeys(
        ("LOCATION", "GEOGRAPHIC_LOCATION", "ADDRESS", "STREET_ADDRESS", "GPE", "ZIP_CODE", "GEO", "CITY", "ZIP"),
        "LOCATION",
    ),
    **dict.fromkeys(("FACILITY", "HOSPITAL", "ORGANIZATION", "EMPLOYER"), "FACILITY"),
    **dict.fromkeys(("PHONE", "PHONE_NUMBER", "FAX_NUMBER", "FAX"), "PHONE"),
    **dict.fromkeys(("EMAIL", "EMAIL_ADDRESS"), "EMAIL"),
    **dict.fromkeys(("URL", "DOMAIN_NAME"), "URL"),
    **dict.fromkeys(("IP", "IP_ADDRESS"), "IP"),
    **dict.fromkeys(("SSN", "US_SSN", "SOCIAL_SECURITY_NUMBER"), "SSN"),
    "OTHER": "OTHER",
}
"""Label → kind in the typed measures. Every other label is an identifying number, ID."""
_DIRECT_GROUPS = {"NAME", "PHONE", "EMAIL", "SSN", "ID"}
_DIRECT_LABELS = {"ADDRESS", "STREET_ADDRESS"}


@dataclass(frozen=True)
class Measure:
    name: str
    label: str
    hits: int | None
    """None for an F1, which is no share of a count."""
    total: int | None
    value: float
    low: float | None
    high: float | None


def type_group(label: str) -> str:
    return _GROUPS.get(label.upper(), "ID")


def is_direct(label: str) -> bool:
    """Whether it tells who somebody is by itself: name, number, telephone, e-mail, SSN, street address."""
    return label.upper() in _DIRECT_LABELS or type_group(label) in _DIRECT_GROUPS


def measure(documents: Sequence[Mapping[str, Any]], found: Iterable[Sequence[Span]]) -> list[Measure]:
    """All measures of one labelled set.

    A document that says in `labels` which kinds were labelled in it can't tell what was removed without need: then only
    recall is measured.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for document, spans in zip(documents, found, strict=True):
        counts.update(_counts(document["text"], document["spans"], spans))
    is_whole = not any("labels" in document for document in documents)
    return [*_recalls(counts), *(_typed(counts) if is_whole else ()), *_by_document(counts, is_whole)]


def _counts(text: str, gold: Sequence[Mapping[str, Any]], spans: Sequence[Span]) -> Iterator[tuple[str, str]]:
    covered = _cover(text, [(s.start, s.end) for s in spans])
    leaks = False
    for g in gold:
        is_masked = all(covered[i] or text[i].isspace() for i in range(g["start"], g["end"]))
        leaks |= not is_masked
        for label in (g["label"], ALL, *([DIRECT] if is_direct(g["label"]) else [])):
            yield "gold", label
            if is_masked:
                yield "masked", label
        agreeing = [(s.start, s.end) for s in spans if _agree(g["label"], s.label)]
        yield from _agreement("gold", (g["start"], g["end"]), agreeing)
    for s in spans:
        yield "found", ALL
        agreeing = [(g["start"], g["end"]) for g in gold if _agree(g["label"], s.label)]
        yield from _agreement("found", (s.start, s.end), agreeing)
    yield ("documents", "phi") if gold else ("documents", "clean")
    if gold and not leaks:
        yield "documents", "without_leak"
    if spans and not gold:
        yield "documents", "clean_hit"
    yield from _tokens(text, covered, _cover(text, [(g["start"], g["end"]) for g in gold]))


def _agreement(side: str, place: Offsets, agreeing: Sequence[Offsets]) -> Iterator[tuple[str, str]]:
    if place in agreeing:
        yield f"{side}_strict", ALL
    if any(start < place[1] and place[0] < end for start, end in agreeing):
        yield f"{side}_relaxed", ALL


def _agree(gold: str, found: str) -> bool:
    """A place that was found stands for a facility too: labelled sets differ in what they call a hospital."""
    return type_group(gold) == type_group(found) or (found == "LOCATION" and type_group(gold) == "FACILITY")


def _cover(text: str, places: Iterable[tuple[int, int]]) -> bytearray:
    covered = bytearray(len(text))
    for start, end in places:
        covered[start:end] = b"\x01" * (end - start)
    return covered


def _tokens(text: str, covered: bytearray, gold: bytearray) -> Iterator[tuple[str, str]]:
    for word in _WORD.finditer(text):
        if not any(gold[word.start() : word.end()]):
            yield "tokens", "other"
            if any(covered[word.start() : word.end()]):
                yield "tokens", "other_masked"


def _recalls(counts: Counter[tuple[str, str]]) -> Iterator[Measure]:
    for name, label in sorted(key for key in counts if key[0] == "gold"):
        yield _share("masked_recall", label, counts["masked", label], counts[name, label])


def _typed(counts: Counter[tuple[str, str]]) -> Iterator[Measure]:
    for manner in ("strict", "relaxed"):
        gold, found = counts["gold", ALL], counts["found", ALL]
        if not gold or not found:
            continue
        recall = _share(f"{manner}_recall", ALL, counts[f"gold_{manner}", ALL], gold)
        precision = _share(f"{manner}_precision", ALL, counts[f"found_{manner}", ALL], found)
        total = recall.value + precision.value
        f1 = 2 * recall.value * precision.value / total if total else 0.0
        yield from (recall, precision, Measure(f"{manner}_f1", ALL, None, None, f1, None, None))


def _by_document(counts: Counter[tuple[str, str]], is_whole: bool) -> Iterator[Measure]:
    if counts["documents", "phi"]:
        yield _share("documents_without_leak", ALL, counts["documents", "without_leak"], counts["documents", "phi"])
    if is_whole and counts["documents", "clean"]:
        yield _share("clean_documents_hit", ALL, counts["documents", "clean_hit"], counts["documents", "clean"])
    if is_whole and counts["tokens", "other"]:
        yield _share("other_tokens_masked", ALL, counts["tokens", "other_masked"], counts["tokens", "other"])


def _share(name: str, label: str, hits: int, total: int) -> Measure:
    low, high = wilson_interval(hits, total)
    return Measure(name, label, hits, total, hits / total, low, high)


RECALL = "masked_recall"


class GoldFileError(FineTuneError):
    """A file of labelled identifiers can't be used."""


def measure_recall(gold_files: Sequence[Path], workers: Workers, version: str, progress: Progress) -> pa.Table:
    """`scrub_recall`: for each file, one row a measure and kind. Raises GoldFileError."""
    if not gold_files:
        raise GoldFileError("There is no file of labelled identifiers: recall can't be measured.")
    rows: list[dict[str, Any]] = []
    for done, path in enumerate(sorted(gold_files), start=1):
        documents = read_gold(path)
        found = workers.scrub([(document["text"], ()) for document in documents])
        for m in measure(documents, [one.spans for one in found]):
            rows.append({"labelled_set": path.stem, "measure": m.name, "scrubber_version": version, **asdict(m)})
        progress(done, len(gold_files), "labelled sets measured")
    return table_of(rows, ScrubRecall.SCHEMA)


def overall_recall(table: pa.Table, version: str | None = None, label: str = ALL) -> float | None:
    """The lowest recall on any labelled set, of all identifiers or of the direct ones; of this scrubber, if one is named.

    None where nothing was measured. The set that is made of reviewers' marks does not count: it holds misses only.
    """
    assert label in (ALL, DIRECT)
    found = [
        row["value"]
        for row in table.to_pylist()
        if (row["measure"], row["label"]) == (RECALL, label)
        and row["labelled_set"] != MARKED_BY_REVIEWERS
        and version in (None, row["scrubber_version"])
    ]
    return min(found) if found else None


def read_gold(path: Path) -> list[dict[str, Any]]:
    """Documents with `text` and `spans`, and `labels` where only some kinds were labelled.

    Raises GoldFileError with the line that is wrong.
    """
    documents: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
            is_usable = all(
                0 <= s["start"] < s["end"] <= len(document["text"]) and s["label"] for s in document["spans"]
            )
        except (ValueError, KeyError, TypeError) as error:
            raise GoldFileError(f"Line {number} of {path.name} does not have text and spans.") from error
        if not is_usable:
            raise GoldFileError(f"Line {number} of {path.name} has a span outside of its text.")
        documents.append(document)
    if not any(document["spans"] for document in documents):
        raise GoldFileError(f"{path.name} labels no identifier: recall can't be measured on it.")
    return documents
