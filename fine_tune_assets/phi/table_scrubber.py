"""Scrubs a table of reports: `Report` rows in; scrubbed reports, spans, withheld reports and identifier values out.

Runs in two rounds: find all identifiers, then choose surrogates once every value of the corpus is known. Works on row groups, so
that memory does not grow with the corpus.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.phi.replacement.profiles import Profile
from fine_tune_assets.phi.replacement.surrogates import Surrogates, build_corpus_lookup, hash_corpus_values
from fine_tune_assets.phi.scrub_workers import ScrubItem, ScrubWorkers, open_workers
from fine_tune_assets.phi.scrubber import NOT_SCRUBBED, ScrubbedText, scrubber_version
from fine_tune_assets.phi.span_cache import SpanCache
from fine_tune_assets.phi.spans.spans import Span, replace_spans
from fine_tune_assets.quantities.dates import DateReader
from fine_tune_assets.quantities.metadata_dates import read_first_day
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.recipes.schema import ScrubberSettings
from fine_tune_assets.tables.common_columns import KnownIdentifier
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection
from fine_tune_assets.tables.record_classes import iter_records, table_from_records
from fine_tune_assets.tables.report_rows import Report
from fine_tune_assets.tables.scrubbing_rows import IdentifierValue, PhiSpan, ScrubbedReport, WithheldReport

BATCH_ROWS = 1024
ORIGINAL, SURROGATE = "original", "surrogate"


@dataclass(frozen=True)
class ScrubJob:
    """Inputs of a scrub besides the table."""

    settings: ScrubberSettings
    secret: bytes
    cache_dir: Path
    other_values: Sequence[Path]
    """`identifier_values` files of the other batches; no surrogate may equal a value in them."""
    today: date


@dataclass(frozen=True)
class ScrubCounts:
    reports: int
    withheld: int
    spans: int
    cache_hits: int
    spans_by_kind: Mapping[str, int]


@dataclass(frozen=True)
class ScrubOutputs:
    scrubbed: Path
    spans: Path
    withheld: Path
    values: Path


def scrub_report_table(reports: Path, job: ScrubJob, outputs: ScrubOutputs, progress: Progress) -> ScrubCounts:
    """Scrub `reports` into the four output tables, in the order of the reports."""
    version, is_every_date = scrubber_version(job.settings), load_pack(job.settings.domain).pack.dates == "all"
    total = pq.ParquetFile(reports).metadata.num_rows
    values: set[str] = set()
    spans_by_kind: Counter[str] = Counter()
    done = withheld = 0
    with (
        open_finder(job, total) as finder,
        _open_writer(outputs.spans, PhiSpan.SCHEMA) as spans_file,
        _open_writer(outputs.withheld, WithheldReport.SCHEMA) as withheld_file,
    ):
        for chunk in _chunks(reports):
            found = finder.find([(r.text, _list_known_identifiers(r, is_every_date)) for r in chunk])
            span_rows = _build_span_table(chunk, found)
            # One row group per chunk of reports: the second round reads both tables in step.
            spans_file.write_table(span_rows, row_group_size=max(1, span_rows.num_rows))
            withheld_rows = _build_withheld_rows(chunk, found, version)
            withheld_file.write_table(table_from_records(WithheldReport, withheld_rows))
            withheld += len({row.report_id for row in withheld_rows})
            for report, one in zip(chunk, found, strict=True):
                values |= hash_corpus_values(report.text, one.spans, job.secret)
                spans_by_kind.update(span.label for span in one.spans)
            done += len(chunk)
            progress(done, total, "reports searched for identifiers")
    used = _write_scrubbed_reports(reports, job, outputs, values, version, progress)
    _write_values(outputs.values, values, used)
    return ScrubCounts(
        total - withheld, withheld, spans_by_kind.total(), finder.cache_hits, dict(sorted(spans_by_kind.items()))
    )


def _list_known_identifiers(report: Report, is_every_date: bool) -> list[dict[str, Any]]:
    """The known identifiers of a report; where only personal dates are identifiers, without the day on which it was written."""
    known = (one for one in report.known_identifiers if is_every_date or not _is_written_on(report, one))
    return [one.to_row() for one in known]


def _is_written_on(report: Report, known: KnownIdentifier) -> bool:
    return known.kind == "date" and report.written_on is not None and read_first_day([known.value]) == report.written_on


class CachedFinder:
    """Finds identifiers, taking texts that were scrubbed before from the cache."""

    def __init__(self, cache: SpanCache, workers: ScrubWorkers) -> None:
        self._cache, self.workers = cache, workers
        self.cache_hits = 0

    def find(self, items: Sequence[ScrubItem]) -> list[ScrubbedText]:
        keys = [self._cache.compute_key(text, known) for text, known in items]
        cached = self._cache.get(keys)
        new = [(key, item) for key, item in dict(zip(keys, items, strict=True)).items() if key not in cached]
        scrubbed = self.workers.scrub([item for _, item in new]) if new else []
        # A text that was not scrubbed is tried again in the next run.
        self._cache.put(
            (key, s.spans, s.residual_phi)
            for (key, _), s in zip(new, scrubbed, strict=True)
            if NOT_SCRUBBED not in s.residual_phi
        )
        self.cache_hits += sum(key in cached for key in keys)
        cached |= {key: (s.spans, dict(s.residual_phi)) for (key, _), s in zip(new, scrubbed, strict=True)}
        return [
            ScrubbedText(replace_spans(text, cached[key][0]), *cached[key])
            for key, (text, _) in zip(keys, items, strict=True)
        ]


@contextmanager
def open_finder(job: ScrubJob, text_count: int) -> Iterator[CachedFinder]:
    """A finder for about `text_count` texts."""
    cache = SpanCache(job.cache_dir, scrubber_version(job.settings), job.secret)
    with closing(cache), open_workers(job.settings, text_count) as workers:
        yield CachedFinder(cache, workers)


def _write_scrubbed_reports(
    reports: Path, job: ScrubJob, outputs: ScrubOutputs, values: set[str], version: str, progress: Progress
) -> set[str]:
    """Write `ScrubbedReport` rows of all reports that are not withheld; returns the keyed hashes of the surrogates used."""
    surrogates = build_surrogates(job, values)
    withheld = set(pq.read_table(outputs.withheld, columns=["report_id"]).column(0).to_pylist())
    used: set[str] = set()
    done, total = 0, pq.ParquetFile(reports).metadata.num_rows
    with _open_writer(outputs.scrubbed, ScrubbedReport.SCHEMA) as file, pq.ParquetFile(outputs.spans) as found:
        for group, chunk in enumerate(_chunks(reports)):
            spans = _group_spans(found.read_row_group(group))
            passed = [report for report in chunk if report.report_id not in withheld]
            scrubbed = [_build_scrubbed_row(r, spans.get(r.report_id, ()), surrogates, version, used) for r in passed]
            file.write_table(table_from_records(ScrubbedReport, scrubbed))
            done += len(chunk)
            progress(done, total, "reports written")
    return used


def build_surrogates(job: ScrubJob, values: Iterable[str]) -> Surrogates | None:
    """None if the recipe replaces identifiers with tags."""
    if job.settings.replacement == "tags":
        return None
    profile = Profile(job.settings.profile, job.settings.shift_dates)
    taken = frozenset(values) | read_value_hashes(job.other_values, ORIGINAL)
    return Surrogates(
        job.secret,
        profile,
        DateReader(job.today.year, job.settings.day_first_dates),
        build_corpus_lookup(job.secret, taken),
        load_pack(job.settings.domain).pack.own_kinds,
    )


def read_value_hashes(paths: Iterable[Path], role: str) -> frozenset[str]:
    """Keyed hashes of the values with this role in files of `IdentifierValue` rows."""
    tables = (pq.read_table(path, filters=[("role", "=", role)], columns=["value_hash"]) for path in paths)
    return frozenset(value for table in tables for value in table.column(0).to_pylist())


def _build_scrubbed_row(
    report: Report, spans: Sequence[Span], surrogates: Surrogates | None, version: str, used: set[str]
) -> ScrubbedReport:
    day, tagged = report.written_on, replace_spans(report.text, spans)
    text = tagged
    if surrogates is not None:
        replaced = surrogates.replace(report.text, spans, report.subject_key)
        text = replaced.text
        used |= replaced.value_hashes
    return ScrubbedReport(
        report_id=report.report_id,
        batch=report.batch,
        source=report.source,
        subject_key=report.subject_key,
        text=text,
        tagged_text=tagged,
        span_count=len(spans),
        scrubber_version=version,
        written_on=None if day is None else _replace_written_on(day, report.subject_key, surrogates),
        fingerprint=fingerprint_text(text),
    )


def _replace_written_on(day: date, subject_key: str, surrogates: Surrogates | None) -> date:
    """The report's date, replaced like a date in its text; a date reduced to its year becomes January 1."""
    if surrogates is not None and surrogates.profile.shift_dates:
        return day + timedelta(days=surrogates.draw_shift_days(subject_key))
    return day if surrogates is not None and surrogates.profile.keeps_dates else day.replace(month=1, day=1)


def scrub_correction_table(
    corrections: pa.Table, job: ScrubJob, progress: Progress
) -> tuple[pa.Table, dict[str, list[str]]]:
    """Scrub `scrubbed_corrections`; returns the rows that pass the second pass, and those withheld: id → kinds of residual PHI.

    All texts of a correction, including the model's answer and its passages, are scrubbed as one report: an identifier found in
    one of them is removed from all.
    """
    sent = list(iter_records(ScrubbedCorrection, corrections))
    texts = [_collect_texts(correction) for correction in sent]
    with open_workers(job.settings, len(sent)) as workers:
        found = workers.scrub([(_SEPARATOR.join(parts), ()) for parts in texts])
    spans = [_split_spans(parts, one.spans) for parts, one in zip(texts, found, strict=True)]
    values = {
        value
        for parts, by_text in zip(texts, spans, strict=True)
        for text, of_text in zip(parts, by_text, strict=True)
        for value in hash_corpus_values(text, of_text, job.secret)
    }
    surrogates = build_surrogates(job, values)
    kept = [
        _replace_texts(
            correction,
            [_replace_identifiers(correction, *of_text, surrogates) for of_text in zip(parts, by_text, strict=True)],
        )
        for correction, parts, by_text, one in zip(sent, texts, spans, found, strict=True)
        if not one.residual_phi
    ]
    progress(len(sent), len(sent), "corrections scrubbed")
    withheld = {correction.correction_id: sorted(one.residual_phi) for correction, one in zip(sent, found, strict=True)}
    return table_from_records(ScrubbedCorrection, kept), {key: kinds for key, kinds in withheld.items() if kinds}


_SEPARATOR = "\n\n"


def _collect_texts(correction: ScrubbedCorrection) -> list[str]:
    """Every text of a correction that the model may see, plus its answer. Versions are included because they may be dates."""
    own = [correction.instruction, correction.input, correction.output, correction.answer or ""]
    of_passages = ([p.title, p.version, p.text, *p.headings] for p in correction.passages or ())
    return [*own, *(text for texts in of_passages for text in texts)]


def _replace_texts(correction: ScrubbedCorrection, texts: Sequence[str]) -> ScrubbedCorrection:
    """The correction with its texts replaced, in the order of `_collect_texts`."""
    left = iter(texts)
    changed = replace(correction, instruction=next(left), input=next(left), output=next(left), answer=next(left))
    if correction.passages is None:
        return changed
    passages = (
        replace(p, title=next(left), version=next(left), text=next(left), headings=tuple(islice(left, len(p.headings))))
        for p in correction.passages
    )
    return replace(changed, passages=tuple(passages))


def _split_spans(texts: Sequence[str], spans: Sequence[Span]) -> list[list[Span]]:
    """The spans of each text. A span across a boundary, such as two names in adjacent texts, is cut there."""
    by_text: list[list[Span]] = []
    start = 0
    for text in texts:
        end = start + len(text)
        cut = (replace(s, start=max(s.start, start) - start, end=min(s.end, end) - start) for s in spans)
        by_text.append([s for s in cut if s.start < s.end])
        start = end + len(_SEPARATOR)
    return by_text


def _replace_identifiers(
    correction: ScrubbedCorrection, text: str, spans: Sequence[Span], surrogates: Surrogates | None
) -> str:
    if surrogates is None:
        return replace_spans(text, spans)
    return surrogates.replace(text, spans, correction.subject_key or correction.correction_id).text


def _build_span_table(reports: Sequence[Report], found: Sequence[ScrubbedText]) -> pa.Table:
    return table_from_records(
        PhiSpan,
        (
            PhiSpan(report_id=report.report_id, **vars(span))
            for report, one in zip(reports, found, strict=True)
            for span in one.spans
        ),
    )


def _build_withheld_rows(
    reports: Sequence[Report], found: Sequence[ScrubbedText], version: str
) -> list[WithheldReport]:
    return [
        WithheldReport(report_id=report.report_id, batch=report.batch, kind=kind, count=count, scrubber_version=version)
        for report, one in zip(reports, found, strict=True)
        for kind, count in sorted(one.residual_phi.items())
    ]


def _write_values(path: Path, originals: set[str], used: set[str]) -> None:
    by_role = {ORIGINAL: originals, SURROGATE: used}
    rows = [IdentifierValue(value_hash=v, role=role) for role, values in by_role.items() for v in sorted(values)]
    with _open_writer(path, IdentifierValue.SCHEMA) as file:
        file.write_table(table_from_records(IdentifierValue, rows))


def _chunks(reports: Path) -> Iterator[list[Report]]:
    for batch in pq.ParquetFile(reports).iter_batches(BATCH_ROWS, columns=Report.SCHEMA.names):
        yield [Report.from_row(row) for row in batch.to_pylist()]


def _group_spans(rows: pa.Table) -> dict[str, list[Span]]:
    """The spans of one row group, which belong to one chunk of reports."""
    spans: dict[str, list[Span]] = {}
    for row in rows.to_pylist():
        spans.setdefault(row.pop("report_id"), []).append(Span(**row))
    return spans


def _open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    path.touch(mode=0o600)
    return pq.ParquetWriter(path, schema)
