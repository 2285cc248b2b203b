"""Accounts for the words of the reports: which are in a draft, and where the others are.

Owns the counts, by which a section that was cut is noticed. They hold no report text. How a report is cut is in
claims/sections.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa

from fine_tune_assets.approval.flags import kinds_of
from fine_tune_assets.approval.task_kinds import (
    CUT_SHORT,
    ReadReports,
    ReportText,
    named_headings,
    other_half,
    report_sections,
)
from fine_tune_assets.claims.sections import (
    Section,
    find_section,
    headings_within_a_line,
    means,
    texts_of,
    words_cut_off,
)
from fine_tune_assets.recipes.schema import FieldTask, Heading, PairTask, Task


@dataclass(frozen=True)
class SectionAccount:
    words_in_drafts: int = 0
    words_in_other_sections: int = 0
    """Under headings that no draft uses."""
    words_before_first_heading: int = 0
    words_after_unsure_headings: int = 0
    """Under lines of which only the form says that they are headings."""
    drafts_cut_short: int = 0
    words_cut_short: int = 0
    """Of the words after unsure headings those that follow a section of a draft: they may belong to it."""
    sections_within_a_line: int = 0
    """Sections that a task names and does not get, since text follows their heading on the same line."""
    sections_without_text: int = 0
    """Sections that a task names and that hold nothing."""

    @property
    def is_whole(self) -> bool:
        """Whether no draft lacks text of its sections, and no task a section that its report has."""
        return not self.drafts_cut_short and not self.sections_within_a_line


def account_sections(read: ReadReports, tasks: Sequence[Task], drafts: pa.Table) -> SectionAccount:
    """`read` gives `unique_reports`; `drafts` are the `drafted_examples` that were made of them."""
    made: dict[str, set[str]] = defaultdict(set)
    for report_id, task in zip(*(drafts.column(name).to_pylist() for name in ("report_id", "task")), strict=True):
        made[report_id].add(task)
    counts: Counter[str] = Counter()
    for report in read():
        counts.update(_account_report(report, tasks, made))
    counts["drafts_cut_short"] = sum(CUT_SHORT in kinds_of(flags) for flags in drafts.column("flags").to_pylist())
    return SectionAccount(**counts)


def _account_report(report: ReportText, tasks: Sequence[Task], made: dict[str, set[str]]) -> Counter[str]:
    sections = report_sections(report.text, tasks)
    drafted = [task for task in tasks if task.name in made.get(report.report_id, ())]
    used = [heading for task in drafted for heading in task.used_headings]
    is_whole = _is_used_whole(report.report_id, drafted, tasks, made)
    counts: Counter[str] = Counter()
    for section in sections:
        counts[_place_of(section, used, is_whole)] += len(section.text.split())
    if not is_whole:
        counts["words_cut_short"] = words_cut_off(sections, used)
    counts.update(_not_found(report.text, sections, [task for task in tasks if task not in drafted]))
    return counts


def _is_used_whole(report_id: str, drafted: Sequence[Task], tasks: Sequence[Task], made: dict[str, set[str]]) -> bool:
    if any(isinstance(task, PairTask) or (isinstance(task, FieldTask) and not task.sections) for task in drafted):
        return True
    halves = ((task.name, other_half(report_id, task)) for task in tasks if isinstance(task, PairTask))
    return any(name in made.get(str(other), ()) for name, other in halves)


def _place_of(section: Section, used: Sequence[Heading], is_whole: bool) -> str:
    if is_whole or any(means(heading, section.heading) for heading in used):
        return "words_in_drafts"
    if not section.heading:
        return "words_before_first_heading"
    return "words_in_other_sections" if section.is_sure else "words_after_unsure_headings"


def _not_found(text: str, sections: Sequence[Section], tasks: Collection[Task]) -> Counter[str]:
    """Why tasks without a draft lack sections whose headings stand in the report."""
    texts = texts_of(sections)
    lacking = {h for task in tasks for h in task.used_headings if find_section(texts, h) is None}
    within = headings_within_a_line(text, named_headings(tasks))
    return Counter(
        sections_within_a_line=sum(any(means(h, name) for name in within) for h in lacking),
        sections_without_text=sum(any(means(h, s.heading) for s in sections) for h in lacking),
    )
