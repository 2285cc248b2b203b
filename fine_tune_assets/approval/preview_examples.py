"""What a person sees of a recipe's drafts before anything is scrubbed.

Real drafts of each source, where their sections end and why, and the headings that no setting names. All of it is report text,
for the terminal of the person who has the reports.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fine_tune_assets.approval.task_kinds import ReportText, SectionRules, UncheckedDraft
from fine_tune_assets.claims.sections import Evidence, Section, list_heading_variants, matches_heading
from fine_tune_assets.recipes.schema import Task

EXAMPLES_PER_SOURCE = 3
_MAX_CONSIDERED = 300
"""Drafts of a task and source from which the examples are chosen."""
INSIDE = "inside a section"
_SETTINGS = frozenset({Evidence.NAMED, Evidence.KNOWN})


@dataclass(frozen=True)
class SectionEnd:
    """Where a section of a draft ends in its report."""

    heading: str
    """As the recipe writes it first."""
    ended_by: str | None = field(repr=False)
    """The heading that ends it; None at the end of the report."""
    evidence: str | None
    """Why that line is a heading."""
    is_certain: bool


@dataclass(frozen=True)
class DraftExample:
    report_id: str
    source: str
    task: str
    input: str = field(repr=False)
    output: str = field(repr=False)
    flags: tuple[str, ...] = field(repr=False)
    sections: tuple[SectionEnd, ...]


@dataclass(frozen=True)
class UnnamedHeading:
    """A heading that the reports have and neither the recipe nor the domain pack names."""

    heading: str = field(repr=False)
    reports: int
    evidence: str
    """Why it ends a section, or `INSIDE` if it stays in the text of one."""


def list_draft_examples(
    reports: Iterable[ReportText], drafts: Sequence[UncheckedDraft], tasks: Sequence[Task], rules: SectionRules
) -> list[DraftExample]:
    """Three drafts of each task and source, with different ends of sections first."""
    by_source: dict[tuple[str, str], list[UncheckedDraft]] = defaultdict(list)
    for draft in drafts:
        of_source = by_source[draft.task, draft.source]
        of_source += [draft] if len(of_source) < _MAX_CONSIDERED else []
    wanted = {draft.report_id for found in by_source.values() for draft in found}
    sections = {report.report_id: rules.split(report) for report in reports if report.report_id in wanted}
    examples = list[DraftExample]()
    for task in tasks:
        for (name, _), found in sorted(by_source.items()):
            if name == task.name:
                candidates = [_make_example(draft, sections[draft.report_id], task) for draft in found]
                by_end = {one.sections: one for one in reversed(candidates)}
                different = [one for one in candidates if by_end[one.sections] is one]
                others = [one for one in candidates if by_end[one.sections] is not one]
                examples += [*different, *others][:EXAMPLES_PER_SOURCE]
    return examples


def _make_example(draft: UncheckedDraft, sections: Sequence[Section], task: Task) -> DraftExample:
    ends = tuple(_find_ends(sections, task))
    return DraftExample(draft.report_id, draft.source, draft.task, draft.input, draft.output, draft.flags, ends)


def _find_ends(sections: Sequence[Section], task: Task) -> Iterable[SectionEnd]:
    for heading in task.used_headings:
        for at, section in enumerate(sections):
            if section.text and matches_heading(heading, section.heading):
                following = sections[at + 1] if at + 1 < len(sections) else None
                written = list_heading_variants(heading)[0]
                if following is None:
                    yield SectionEnd(written, None, None, is_certain=True)
                else:
                    yield SectionEnd(written, following.heading, following.evidence, following.is_certain)


class UnnamedHeadings:
    """Counts the headings of reports that no setting names."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, sections: Sequence[Section]) -> None:
        """Add the sections of one report."""
        ending = {(one.heading, str(one.evidence)) for one in sections if one.heading and one.evidence not in _SETTINGS}
        self._counts.update(ending | {(name, INSIDE) for one in sections for name in one.inner_headings})

    def list(self) -> tuple[UnnamedHeading, ...]:
        """The most frequent first."""
        ordered = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return tuple(UnnamedHeading(heading, count, evidence) for (heading, evidence), count in ordered)
