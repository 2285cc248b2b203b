"""Follows the headings of the reports into the scrubbed texts, whose lines may be other ones: a replaced address may have fewer.

The headings' own words are scrubbed like any others.
"""

import bisect
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.text_alignment import place_parts
from fine_tune_assets.tables.common_columns import HeadingLine
from fine_tune_assets.tables.record_classes import Record, conform, iter_records
from fine_tune_assets.tables.scrubbing_rows import ScrubbedReport

Offsets = tuple[int, int]


class _Raw(Record):
    report_id: str
    text: str
    headings: tuple[HeadingLine, ...] | None


class _Scrubbed(Record):
    report_id: str
    text: str


class _Span(Record):
    report_id: str
    start: int
    end: int


def add_headings(scrubbed: pa.Table, reports: pa.Table, spans: pa.Table) -> tuple[pa.Table, int]:
    """`scrubbed_reports` with the headings of `reports`, and how many headings could not be followed: the start of their line is
    part of an identifier."""
    with_headings = reports.filter(pc.greater(pc.fill_null(pc.list_value_length(reports["headings"]), 0), 0))
    raw = {report.report_id: report for report in iter_records(_Raw, with_headings)}
    removed: dict[str, list[Offsets]] = defaultdict(list)
    for span in iter_records(
        _Span, spans.filter(pc.is_in(spans["report_id"], with_headings["report_id"].combine_chunks()))
    ):
        removed[span.report_id].append((span.start, span.end))
    column, lost = list[list[dict[str, int]]](), 0
    for row in iter_records(_Scrubbed, scrubbed):
        report = raw.get(row.report_id)
        headings = () if report is None else report.headings or ()
        found = () if report is None else move_headings(headings, report.text, sorted(removed[row.report_id]), row.text)
        lost += len(headings) - len(found)
        column.append([heading.to_row() for heading in found])
    field = ScrubbedReport.SCHEMA.field("headings")
    others = scrubbed.drop_columns(["headings"]) if "headings" in scrubbed.column_names else scrubbed
    return conform(others.append_column(field, pa.array(column, field.type)), ScrubbedReport.SCHEMA), lost


def move_headings(
    headings: Sequence[HeadingLine], raw: str, spans: Sequence[Offsets], scrubbed: str
) -> tuple[HeadingLine, ...]:
    """The headings of `raw` by their lines in `scrubbed`, in which something else is written for each span."""
    starts, stops = [0, *(end for _, end in spans)], [*(start for start, _ in spans), len(raw)]
    places = place_parts([raw[start:stop] for start, stop in zip(starts, stops, strict=True)], scrubbed)
    if places is None:
        return ()
    old_lines, new_lines = _list_line_starts(raw), _list_line_starts(scrubbed)
    moved = list[HeadingLine]()
    for heading in headings:
        start = old_lines[heading.line - 1]
        part = bisect.bisect_right(starts, start) - 1
        if start > stops[part]:
            continue
        line = bisect.bisect_right(new_lines, places[part] + start - starts[part])
        moved.append(HeadingLine(line=line, level=heading.level))
    return tuple(moved)


def _list_line_starts(text: str) -> list[int]:
    lengths: Iterable[int] = (len(line) for line in text.splitlines(keepends=True)[:-1])
    return list(accumulate(lengths, initial=0))
