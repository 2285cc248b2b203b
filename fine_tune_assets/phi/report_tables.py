"""Scrubs a table of reports: from `Report` rows to scrubbed reports, spans, what is held back, and the values that occurred.

Owns the two rounds: first all identifiers are found, then, when every value of the corpus is known, surrogates are chosen.
Reads and writes row groups, so that memory does not grow with the corpus.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.phi.replacement.profiles import Profile
from fine_tune_assets.phi.replacement.surrogates import Surrogates, corpus_lookup, corpus_values
from fine_tune_assets.phi.scrubbing import ScrubbedText, scrubber_version
from fine_tune_assets.phi.span_cache import SpanCache
from fine_tune_assets.phi.spans.spans import Span, replace_spans
from fine_tune_assets.phi.workers import Item, Workers, open_workers
from fine_tune_assets.quantities.dates import DateReader
from fine_tune_assets.recipes.schema import ScrubSettings
from fine_tune_assets.tables.corrections import ScrubbedCorrection
from fine_tune_assets.tables.phi import HeldReport, IdentifierValue, PhiSpan, ScrubbedReport
from fine_tune_assets.tables.records import table_of
from fine_tune_assets.tables.reports import Report

ROWS_AT_ONCE = 1024
ORIGINAL, SURROGATE = "original", "surrogate"


@dataclass(frozen=True)
class ScrubJob:
    """What scrubbing a table needs beside the table."""

    settings: ScrubSettings
    secret: bytes
    cache: Path
    other_values: Sequence[Path]
    """`identifier_values` of the other batches: no surrogate may equal a value that occurs there."""
    today: date


@dataclass(frozen=True)
class ScrubCounts:
    reports: int
    held: int
    spans: int
    from_cache: int
    by_label: Mapping[str, int]


@dataclass(frozen=True)
class ScrubOutputs:
    """Paths of the four tables."""

    scrubbed: Path
    spans: Path
    held: Path
    values: Path


def scrub_table(reports: Path, job: ScrubJob, outputs: ScrubOutputs, progress: Progress) -> ScrubCounts:
    """`reports` → `ScrubbedReport` rows, `PhiSpan` rows, `HeldReport` rows and `IdentifierValue` rows, in the order of the
    reports."""
    version = scrubber_version(job.settings)
    total = pq.ParquetFile(reports).metadata.num_rows
    values: set[str] = set()
    by_label: Counter[str] = Counter()
    done = held = 0
    with (
        open_finder(job, total) as finder,
        _writer(outputs.spans, PhiSpan.SCHEMA) as spans_file,
        _writer(outputs.held, HeldReport.SCHEMA) as held_file,
    ):
        for rows in _rows(reports, Report.SCHEMA):
            found = finder.find([(r["text"], r["known_identifiers"]) for r in rows])
            span_rows = _span_rows(rows, found)
            # One row group a lot of reports: the second round reads them side by side.
            spans_file.write_table(span_rows, row_group_size=max(1, span_rows.num_rows))
            held_rows = _held_rows(rows, found, version)
            held_file.write_table(table_of(held_rows, HeldReport.SCHEMA))
            held += len({r["report_id"] for r in held_rows})
            for row, one in zip(rows, found, strict=True):
                values |= corpus_values(row["text"], one.spans, job.secret)
                by_label.update(span.label for span in one.spans)
            done += len(rows)
            progress(done, total, "reports read for identifiers")
    used = _replace_all(reports, job, outputs, values, version, progress)
    _write_values(outputs.values, values, used)
    return ScrubCounts(total - held, held, by_label.total(), finder.from_cache, dict(sorted(by_label.items())))


class CachedFinder:
    """Finds identifiers; what was found in the same text before is taken from the cache."""

    def __init__(self, cache: SpanCache, workers: Workers) -> None:
        self._cache, self.workers = cache, workers
        self.from_cache = 0

    def find(self, items: Sequence[Item]) -> list[ScrubbedText]:
        keys = [self._cache.key(text, known) for text, known in items]
        kept = self._cache.get(keys)
        new = [(key, item) for key, item in dict(zip(keys, items, strict=True)).items() if key not in kept]
        scrubbed = self.workers.scrub([item for _, item in new]) if new else []
        self._cache.put((key, s.spans, s.leaks) for (key, _), s in zip(new, scrubbed, strict=True))
        self.from_cache += sum(key in kept for key in keys)
        kept |= {key: (s.spans, dict(s.leaks)) for (key, _), s in zip(new, scrubbed, strict=True)}
        return [
            ScrubbedText(replace_spans(text, kept[key][0]), *kept[key])
            for key, (text, _) in zip(keys, items, strict=True)
        ]


@contextmanager
def open_finder(job: ScrubJob, texts: int) -> Iterator[CachedFinder]:
    """A finder for about that many texts."""
    cache = SpanCache(job.cache, scrubber_version(job.settings), job.secret)
    with closing(cache), open_workers(job.settings, texts) as workers:
        yield CachedFinder(cache, workers)


def _replace_all(
    reports: Path, job: ScrubJob, outputs: ScrubOutputs, values: set[str], version: str, progress: Progress
) -> set[str]:
    """Write `ScrubbedReport` rows of the reports that are not held back; returns the keyed hashes of the surrogates used."""
    surrogates = build_surrogates(job, values)
    held = set(pq.read_table(outputs.held, columns=["report_id"]).column(0).to_pylist())
    used: set[str] = set()
    done, total = 0, pq.ParquetFile(reports).metadata.num_rows
    with _writer(outputs.scrubbed, ScrubbedReport.SCHEMA) as file, pq.ParquetFile(outputs.spans) as found:
        for group, rows in enumerate(_rows(reports, Report.SCHEMA)):
            spans = _spans_by_report(found.read_row_group(group))
            kept = [row for row in rows if row["report_id"] not in held]
            scrubbed = [_scrubbed_row(r, spans.get(r["report_id"], ()), surrogates, version, used) for r in kept]
            file.write_table(table_of(scrubbed, ScrubbedReport.SCHEMA))
            done += len(rows)
            progress(done, total, "reports written")
    return used


def build_surrogates(job: ScrubJob, values: Iterable[str]) -> Surrogates | None:
    """None where the recipe wants tags."""
    if job.settings.replacement == "tags":
        return None
    profile = Profile(job.settings.profile, job.settings.shift_dates)
    taken = frozenset(values) | stored_values(job.other_values, ORIGINAL)
    return Surrogates(
        job.secret, profile, DateReader(job.today.year, job.settings.day_first_dates), corpus_lookup(job.secret, taken)
    )


def stored_values(paths: Iterable[Path], role: str) -> frozenset[str]:
    """Keyed hashes of the values of that role in files of `IdentifierValue` rows."""
    tables = (pq.read_table(path, filters=[("role", "=", role)], columns=["value_hash"]) for path in paths)
    return frozenset(value for table in tables for value in table.column(0).to_pylist())


def _scrubbed_row(
    row: Mapping[str, Any], spans: Sequence[Span], surrogates: Surrogates | None, version: str, used: set[str]
) -> dict[str, Any]:
    tagged = replace_spans(row["text"], spans)
    text = tagged
    if surrogates is not None:
        replaced = surrogates.replace(row["text"], spans, row["patient_key"])
        text = replaced.text
        used |= replaced.values
    return {
        **{name: row[name] for name in ("report_id", "batch", "source", "patient_key")},
        "text": text,
        "tagged_text": tagged,
        "span_count": len(spans),
        "scrubber_version": version,
        "written_on": None
        if row["written_on"] is None
        else _shown_day(row["written_on"], row["patient_key"], surrogates),
        "fingerprint": fingerprint_text(text),
    }


def _shown_day(day: date, patient_key: str, surrogates: Surrogates | None) -> date:
    """The day on which a report was written, as a date in its text would stand: a year is its first day."""
    if surrogates is not None and surrogates.profile.shift_dates:
        return day + timedelta(days=surrogates.shift_days(patient_key))
    return day if surrogates is not None and surrogates.profile.keeps_dates else day.replace(month=1, day=1)


def scrub_corrections(corrections: pa.Table, job: ScrubJob, progress: Progress) -> tuple[pa.Table, int]:
    """`scrubbed_corrections` without those that the second pass holds back, and how many these are.

    The texts of a correction, the model's answer and the passages that it was given from among them, are one report in parts:
    what is found in one goes from all.
    """
    rows = [row | {"answer": row["answer"] or ""} for row in corrections.to_pylist()]
    texts = [_texts_of(row) for row in rows]
    with open_workers(job.settings, len(rows)) as workers:
        found = workers.scrub([(_JOINT.join(parts), ()) for parts in texts])
    spans = [_spans_by_text(parts, one.spans) for parts, one in zip(texts, found, strict=True)]
    values = {
        value
        for parts, by_text in zip(texts, spans, strict=True)
        for text, of_text in zip(parts, by_text, strict=True)
        for value in corpus_values(text, of_text, job.secret)
    }
    surrogates = build_surrogates(job, values)
    kept = [
        _with_texts(row, [_replaced(row, *of_text, surrogates) for of_text in zip(parts, by_text, strict=True)])
        for row, parts, by_text, one in zip(rows, texts, spans, found, strict=True)
        if not one.leaks
    ]
    progress(len(rows), len(rows), "corrections scrubbed")
    return table_of(kept, ScrubbedCorrection.SCHEMA), len(rows) - len(kept)


_TEXTS = ("instruction", "input", "output", "answer")
_OF_PASSAGE = ("title", "version", "text")
_JOINT = "\n\n"


def _texts_of(row: Mapping[str, Any]) -> list[str]:
    """All that the model may be shown of a correction, and its answer; the version too, which may be a day."""
    of_passages = (
        [passage[name] for name in _OF_PASSAGE] + list(passage["headings"]) for passage in row["passages"] or ()
    )
    return [*(row[name] for name in _TEXTS), *(text for texts in of_passages for text in texts)]


def _with_texts(row: Mapping[str, Any], texts: Sequence[str]) -> dict[str, Any]:
    """The row with other texts, in the order of `_texts_of`."""
    left = iter(texts)
    changed: dict[str, Any] = {name: next(left) for name in _TEXTS}
    if row["passages"] is not None:
        changed["passages"] = [
            passage
            | {name: next(left) for name in _OF_PASSAGE}
            | {"headings": [next(left) for _ in passage["headings"]]}
            for passage in row["passages"]
        ]
    return {**row, **changed}


def _spans_by_text(texts: Sequence[str], spans: Sequence[Span]) -> list[list[Span]]:
    """Of each text its own spans. One that reaches over a joint, such as two names with only it between them, is cut there."""
    by_text: list[list[Span]] = []
    start = 0
    for text in texts:
        end = start + len(text)
        cut = (replace(s, start=max(s.start, start) - start, end=min(s.end, end) - start) for s in spans)
        by_text.append([s for s in cut if s.start < s.end])
        start = end + len(_JOINT)
    return by_text


def _replaced(row: Mapping[str, Any], text: str, spans: Sequence[Span], surrogates: Surrogates | None) -> str:
    if surrogates is None:
        return replace_spans(text, spans)
    return surrogates.replace(text, spans, row["patient_key"] or row["correction_id"]).text


def _span_rows(rows: Sequence[Mapping[str, Any]], found: Sequence[ScrubbedText]) -> pa.Table:
    return table_of(
        [
            {"report_id": row["report_id"], **asdict(span)}
            for row, one in zip(rows, found, strict=True)
            for span in one.spans
        ],
        PhiSpan.SCHEMA,
    )


def _held_rows(rows: Sequence[Mapping[str, Any]], found: Sequence[ScrubbedText], version: str) -> list[dict[str, Any]]:
    return [
        {
            "report_id": row["report_id"],
            "batch": row["batch"],
            "kind": kind,
            "count": count,
            "scrubber_version": version,
        }
        for row, one in zip(rows, found, strict=True)
        for kind, count in sorted(one.leaks.items())
    ]


def _write_values(path: Path, originals: set[str], used: set[str]) -> None:
    rows = [{"value_hash": v, "role": ORIGINAL} for v in sorted(originals)] + [
        {"value_hash": v, "role": SURROGATE} for v in sorted(used)
    ]
    with _writer(path, IdentifierValue.SCHEMA) as file:
        file.write_table(table_of(rows, IdentifierValue.SCHEMA))


def _rows(path: Path, schema: pa.Schema) -> Iterator[list[dict[str, Any]]]:
    for batch in pq.ParquetFile(path).iter_batches(ROWS_AT_ONCE, columns=schema.names):
        yield batch.to_pylist()


def _spans_by_report(rows: pa.Table) -> dict[str, list[Span]]:
    """The spans of one row group, which holds those of one lot of reports."""
    spans: dict[str, list[Span]] = {}
    for row in rows.to_pylist():
        spans.setdefault(row.pop("report_id"), []).append(Span(**row))
    return spans


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    path.touch(mode=0o600)
    return pq.ParquetWriter(path, schema)
