"""Finds the sections that reports have in common before a recipe names any, and proposes tasks from them.

A heading is a line that the reports of a source repeat (`claims/repeated_lines.py`), or to which several of them give a heading
style. Sources spell headings differently, so a task may name several spellings: headings that share a word and that no report has
together, and sections of the input that replace each other. Values of sections are counted, never returned: a value that repeats
can be a name.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise, takewhile
from statistics import mean, median

from fine_tune_assets.approval.task_kinds import ReportText, to_lined_report
from fine_tune_assets.claims.heading_forms import clean_heading
from fine_tune_assets.claims.inline_headings import break_inline_headings, find_repeated_inline_headings
from fine_tune_assets.claims.repeated_lines import MIN_REPORTS, find_repeated_lines, list_keys, normalize_line
from fine_tune_assets.claims.sections import DEEPEST_STYLE, matches_heading
from fine_tune_assets.tables.common_columns import HeadingLine

_MAX_LABEL_WORDS, _MAX_LABELS, _MIN_PER_LABEL = 5, 15, 3
_WORD = re.compile(r"[^\W\d_]{4,}")
_MIN_STEM, _STEM_SHARE = 4, 0.7
"""Letters that two words begin with to be forms of one word, and their share of the shorter word."""
_MAX_OVERLAP = 0.05
"""Share of the smaller section's reports that may have both of two spellings."""
_LENGTH_RATIO = 2.5
"""Sections that replace each other in the input have similar lengths."""
_MOST_DRAFTS = 0.9
"""Tasks with this share of the most drafts are compared by what they write."""
_SHORT = 1 / 3
"""Of the longest section: a shorter one, such as a signature, is proposed last."""


@dataclass(frozen=True)
class FoundSection:
    heading: str
    """As most reports write it, without markup, number and colon."""
    members: frozenset[int] = field(repr=False)
    """Numbers of the reports that have text under it."""
    words: int
    """In the middle report."""
    values: int
    """Number of different texts."""
    position: float
    """Mean place among the headings of a report."""
    is_inline: bool = False
    """Whether reports have text on the line of the heading."""

    @property
    def reports(self) -> int:
        return len(self.members)

    @property
    def is_label(self) -> bool:
        """Whether a few short texts repeat, as in a classification."""
        return self.words <= _MAX_LABEL_WORDS and self.values <= min(_MAX_LABELS, self.reports // _MIN_PER_LABEL)


Spellings = tuple[str, ...]
"""The headings of one section, the most frequent first."""


@dataclass(frozen=True)
class ProposedTask:
    output: Spellings
    inputs: tuple[Spellings, ...]
    drafts: int
    """Reports that have the output and every input."""


@dataclass(frozen=True)
class _Group:
    """Sections that are spellings of one."""

    sections: tuple[FoundSection, ...]

    @property
    def spellings(self) -> Spellings:
        return tuple(one.heading for one in sorted(self.sections, key=lambda one: (-one.reports, one.heading)))

    @property
    def members(self) -> frozenset[int]:
        return frozenset[int]().union(*(one.members for one in self.sections))

    @property
    def words(self) -> float:
        return max(self.sections, key=lambda one: one.reports).words

    @property
    def position(self) -> float:
        return sum(one.position * one.reports for one in self.sections) / sum(one.reports for one in self.sections)

    @property
    def is_label(self) -> bool:
        return all(one.is_label for one in self.sections)

    def replaces(self, other: "_Group") -> bool:
        """Whether (almost) no report has both."""
        both = len(self.members & other.members)
        return both <= _MAX_OVERLAP * min(len(self.members), len(other.members))


@dataclass
class _Seen:
    spellings: Counter[str] = field(default_factory=Counter)
    reports: set[int] = field(default_factory=set)
    places: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


def find_sections(reports: Sequence[ReportText]) -> list[FoundSection]:
    """In the order of the reports."""
    repeated, styled = find_repeated_lines(map(to_lined_report, reports)), _find_styled_lines(reports)
    inline = find_repeated_inline_headings((report.source, report.text) for report in reports)
    seen: dict[str, _Seen] = defaultdict(_Seen)
    for number, report in enumerate(reports):
        names = inline[report.source]
        parts = _iter_sections(_break_lines(report, names), repeated[report.source] | styled[report.source] | names)
        for place, (key, heading, text) in enumerate(parts):
            one = seen[key]
            one.spellings[heading] += 1
            one.reports |= {number} if text else set()
            one.places.append(place)
            one.texts += [text] if text else []
    found = [
        FoundSection(
            max(one.spellings, key=lambda spelling: (one.spellings[spelling], spelling)),
            frozenset(one.reports),
            round(median(len(text.split()) for text in one.texts)),
            len({" ".join(text.casefold().split()) for text in one.texts}),
            mean(one.places),
            is_inline=any(key in names for names in inline.values()),
        )
        for key, one in seen.items()
        if one.texts
    ]
    return sorted(found, key=lambda one: (one.position, one.heading))


def propose_tasks(sections: Sequence[FoundSection]) -> list[ProposedTask]:
    """The best first: of those with (nearly) the most drafts of all sources, the last section of repeated short texts, which a
    small model learns soonest, else the last section that is not much shorter than the others. Each has a draft."""
    groups = _group_spellings(sections)
    found = [(group, _propose(group.spellings, group, groups)) for group in groups]
    most = max((task.drafts for _, task in found), default=0)
    longest = max((group.words for group in groups), default=0)

    def rank(one: tuple[_Group, ProposedTask]) -> tuple[bool, bool, bool, float]:
        group, task = one
        return task.drafts >= _MOST_DRAFTS * most, group.is_label, group.words >= _SHORT * longest, group.position

    return [task for _, task in sorted(found, key=rank, reverse=True) if task.drafts]


def propose_inputs(
    sections: Sequence[FoundSection], output: Sequence[str], outputs: Collection[str] = ()
) -> tuple[Spellings, ...]:
    """The sections before an output, each with what replaces it in other reports. `outputs`: headings of other tasks."""
    written = tuple(one for one in sections if matches_heading(tuple(output), one.heading.upper()))
    others = [one for one in sections if one not in written and one.heading not in outputs]
    return _propose(tuple(output), _Group(written) if written else None, _group_spellings(others)).inputs


def _propose(output: Spellings, written: _Group | None, groups: Sequence[_Group]) -> ProposedTask:
    others = [one for one in groups if one != written]
    usable = [one for one in others if not one.is_label] or others
    if written is not None and not written.is_label:
        usable = [one for one in usable if one.position < written.position] or usable
    drafted = written.members if written else frozenset[int]().union(*(one.members for one in usable))
    slots = list[_Group]()
    while usable:
        proposals = [_add_replacements(one, usable, drafted, written) for one in usable]
        best = max(proposals, key=lambda one: (len(one.members & drafted), one.words))
        if slots and not drafted <= best.members:
            break
        if not drafted & best.members:
            break
        drafted &= best.members
        slots.append(best)
        usable = [one for one in usable if not set(one.sections) & set(best.sections)]
    slots.sort(key=lambda one: one.position)
    return ProposedTask(output, tuple(one.spellings for one in slots), len(drafted) if slots else 0)


def _add_replacements(
    first: _Group, others: Sequence[_Group], drafted: frozenset[int], written: _Group | None
) -> _Group:
    """The section, and for reports without it others: first those as far before the output, then those that add most drafts."""
    slot, place = first, _distance(first, written)
    while True:
        added = {
            one: len(one.members & (drafted - slot.members))
            for one in others
            if one.replaces(slot)
            and max(one.words, first.words) <= _LENGTH_RATIO * min(one.words, first.words)
            and one.members & (drafted - slot.members)
        }
        if not added:
            return slot
        best = min(
            added,
            key=lambda one: (round(abs(_distance(one, written) - place)), -added[one], abs(one.words - first.words)),
        )
        slot = _Group((*slot.sections, *best.sections))


def _distance(group: _Group, written: _Group | None) -> float:
    """Headings between a section and the output, in the middle of the reports that have both."""
    both = [
        (len(one.members & other.members), other.position - one.position)
        for one in group.sections
        for other in (written.sections if written else ())
    ]
    return sum(count * distance for count, distance in both) / max(1, sum(count for count, _ in both))


def _group_spellings(sections: Sequence[FoundSection]) -> list[_Group]:
    """Joins the headings that share a word (`Recommendation`, `Surveyor's recommendations`) unless reports have two of them."""
    left, groups = list(sections), list[_Group]()
    for stem in _list_stems(sections):
        joined = [_Group((one,)) for one in sections if stem in one.heading.casefold()]
        is_same = len({one.is_label for one in joined}) == 1
        if len(joined) > 1 and is_same and all(one.replaces(other) for one, other in combinations(joined, 2)):
            same = [one for one in left if stem in one.heading.casefold()]
            left = [one for one in left if one not in same]
            groups += [_Group(tuple(same))] if same else []
    return sorted([*groups, *(_Group((one,)) for one in left)], key=lambda one: (one.position, one.spellings))


def _list_stems(sections: Sequence[FoundSection]) -> list[str]:
    """Beginnings that words of two headings share: first of the last words (`findings` in `Survey findings`), which say what
    the section is, then of the most reports."""
    words = sorted({word for one in sections for word in _WORD.findall(one.heading.casefold())})
    shared = {(one, other): _shared_start(one, other) for one in words for other in words}
    stems = {stem for pair, stem in shared.items() if len(stem) >= max(_MIN_STEM, _STEM_SHARE * min(map(len, pair)))}

    def order(stem: str) -> tuple[bool, int, int, str]:
        having = [one for one in sections if stem in one.heading.casefold()]
        is_last = all(stem in one.heading.casefold().split()[-1] for one in having)
        return not is_last, -sum(one.reports for one in having), -len(stem), stem

    return sorted(stems, key=order)


def _shared_start(one: str, other: str) -> str:
    return "".join(letter for letter, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _find_styled_lines(reports: Sequence[ReportText]) -> dict[str, frozenset[str]]:
    """Source → lines with a heading style in several of its reports, in capitals without number and colon."""
    counts = defaultdict[str, Counter[str]](Counter)
    for report in reports:
        lines, levels = report.text.splitlines(), {one.line: one.level for one in report.headings or ()}
        found = {normalize_line(lines[line - 1]) for line, level in levels.items() if level <= DEEPEST_STYLE}
        counts[report.source].update(found - {""})
    return {
        source: frozenset(line for line, count in found.items() if count >= MIN_REPORTS)
        for source, found in counts.items()
    }


def _break_lines(report: ReportText, names: frozenset[str]) -> ReportText:
    """With the inline headings of its source on lines of their own."""
    levels = {one.line: one.level for one in report.headings or ()}
    text, moved = break_inline_headings(report.text, names, levels)
    return replace(
        report, text=text, headings=tuple(HeadingLine(line=line, level=level) for line, level in moved.items())
    )


def _iter_sections(report: ReportText, repeated: frozenset[str]) -> Iterator[tuple[str, str, str]]:
    """Normalized heading, heading and text of each section, from the first repeated line on."""
    lines, keys = report.text.splitlines(), list_keys(to_lined_report(report))
    starts = [at for at, key in enumerate(keys) if key in repeated]
    for start, end in pairwise([*starts, len(lines)]):
        yield keys[start], clean_heading(lines[start]), "\n".join(lines[start + 1 : end]).strip()
