"""Finds the lines that many reports of one source repeat in the form of a heading.

Values such as "None" repeat too: a heading is set apart, occurs once in a report, and has text below it.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from fine_tune_assets.claims.heading_forms import clean_heading, read_form
from fine_tune_assets.core.fingerprints import fingerprint_text

MIN_REPORTS = 5
MIN_SHARE = 0.2
"""Of the reports of a source. In notes and dialogues of three public sets, headings occur in 20 % and more, and the most frequent
line that is set apart without being a heading in 3 %."""
MAX_PER_REPORT = 1.1
MIN_WITH_TEXT = 0.25
"""Share of its occurrences that text follows, not another such line."""
SAMPLE_REPORTS = 1000
"""Reports of a source that are counted: those with the lowest fingerprints of their ids, regardless of their order."""

_Lines = list[tuple[str, str | None]]
"""Each line that may be a heading, and the next one that is not blank: empty if it can't be a heading, None at the end."""


@dataclass(order=True)
class _Sampled:
    order: int
    lines: _Lines = field(compare=False)


@dataclass(frozen=True)
class LinedReport:
    source: str
    report_id: str
    text: str
    marked_lines: Collection[int] = ()
    """Numbers of the lines that the format states to be bold or headings, from 1."""


def find_repeated_lines(reports: Iterable[LinedReport]) -> dict[str, frozenset[str]]:
    """Source → repeated lines in capitals without number and colon."""
    samples: dict[str, list[_Sampled]] = defaultdict(list)
    for report in reports:
        order, sample = -int(fingerprint_text(report.report_id)[:15], 16), samples[report.source]
        if len(sample) < SAMPLE_REPORTS:
            heapq.heappush(sample, _Sampled(order, list(_iter_lines(report))))
        elif order > sample[0].order:
            heapq.heapreplace(sample, _Sampled(order, list(_iter_lines(report))))
    return {source: _select([one.lines for one in sample]) for source, sample in samples.items()}


def normalize_line(line: str) -> str:
    return " ".join(clean_heading(line).split()).upper()


def list_keys(report: LinedReport) -> list[str]:
    """For each line, its normalized form; empty if it can't be a heading."""
    lines, marked = report.text.splitlines(), report.marked_lines
    forms = (read_form(lines, at, is_bold=at + 1 in marked) for at in range(len(lines)))
    return ["" if form is None else normalize_line(line) for form, line in zip(forms, lines, strict=True)]


def _iter_lines(report: LinedReport) -> Iterator[tuple[str, str | None]]:
    lines, keys = report.text.splitlines(), list_keys(report)
    filled = [at for at, line in enumerate(lines) if line.strip()]
    for at, following in zip(filled, [*filled[1:], None], strict=True):
        if keys[at]:
            yield keys[at], None if following is None else keys[following]


def _select(reports: list[_Lines]) -> frozenset[str]:
    in_reports = Counter(key for lines in reports for key in {key for key, _ in lines})
    total = Counter(key for lines in reports for key, _ in lines)
    floor = max(MIN_REPORTS, MIN_SHARE * len(reports))
    frequent = {key for key, count in in_reports.items() if count >= floor and total[key] <= MAX_PER_REPORT * count}
    with_text = Counter(key for lines in reports for key, below in lines if below is not None and below not in frequent)
    return frozenset(key for key in frequent if with_text[key] >= MIN_WITH_TEXT * total[key])
