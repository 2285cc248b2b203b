"""Finds the sections that reports have in common before a recipe names any, and proposes tasks from them.

A heading is a line that the reports of a source repeat (`claims/repeated_lines.py`). Values of sections are counted, never
returned: a value that repeats can be a name.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import mean, median

from fine_tune_assets.approval.task_kinds import ReportText, to_lined_report
from fine_tune_assets.claims.heading_forms import clean_heading
from fine_tune_assets.claims.repeated_lines import find_repeated_lines, list_keys

_MAX_LABEL_WORDS, _MAX_LABELS, _MIN_PER_LABEL = 5, 15, 3


@dataclass(frozen=True)
class FoundSection:
    heading: str
    """As most reports write it, without markup, number and colon."""
    reports: int
    words: int
    """In the middle report."""
    values: int
    """Number of different texts."""
    position: float
    """Mean place among the headings of a report."""

    @property
    def is_label(self) -> bool:
        """Whether a few short texts repeat, as in a classification."""
        return self.words <= _MAX_LABEL_WORDS and self.values <= min(_MAX_LABELS, self.reports // _MIN_PER_LABEL)


@dataclass
class _Seen:
    spellings: Counter[str] = field(default_factory=Counter)
    reports: set[int] = field(default_factory=set)
    places: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


def find_sections(reports: Sequence[ReportText]) -> list[FoundSection]:
    """In the order of the reports."""
    repeated = find_repeated_lines(map(to_lined_report, reports))
    seen: dict[str, _Seen] = defaultdict(_Seen)
    for number, report in enumerate(reports):
        for place, (key, heading, text) in enumerate(_iter_sections(report, repeated[report.source])):
            one = seen[key]
            one.spellings[heading] += 1
            one.reports.add(number)
            one.places.append(place)
            one.texts += [text] if text else []
    found = [
        FoundSection(
            max(one.spellings, key=lambda spelling: (one.spellings[spelling], spelling)),
            len(one.reports),
            round(median(len(text.split()) for text in one.texts)),
            len({" ".join(text.casefold().split()) for text in one.texts}),
            mean(one.places),
        )
        for one in seen.values()
        if one.texts
    ]
    return sorted(found, key=lambda one: (one.position, one.heading))


def propose_output(sections: Sequence[FoundSection]) -> str | None:
    """The output that a small model learns soonest: the last section of repeated short texts, else the last section.

    None with fewer than two sections.
    """
    if len(sections) < 2:
        return None
    return next((one for one in reversed(sections) if one.is_label), sections[-1]).heading


def propose_inputs(sections: Sequence[FoundSection], outputs: Sequence[str]) -> list[str]:
    """The sections that no task writes, without the short repeated ones if others are left."""
    others = [one for one in sections if one.heading not in outputs]
    return [one.heading for one in others if not one.is_label] or [one.heading for one in others]


def _iter_sections(report: ReportText, repeated: frozenset[str]) -> Iterator[tuple[str, str, str]]:
    """Normalized heading, heading and text of each section, from the first repeated line on."""
    lines, keys = report.text.splitlines(), list_keys(to_lined_report(report))
    starts = [at for at, key in enumerate(keys) if key in repeated]
    for start, end in pairwise([*starts, len(lines)]):
        yield keys[start], clean_heading(lines[start]), "\n".join(lines[start + 1 : end]).strip()
