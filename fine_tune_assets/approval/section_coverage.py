"""Counts which words of the reports are in drafts and where the others are, to detect truncated sections.

Counts only, no report text. `claims/sections` splits the reports.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa

from fine_tune_assets.approval.flags import distinct_kinds
from fine_tune_assets.approval.task_kinds import (
    TRUNCATED,
    ReadReports,
    ReportText,
    SectionRules,
    list_headings,
    partner_id,
)
from fine_tune_assets.claims.sections import (
    Section,
    count_cut_off_words,
    find_inline_headings,
    find_section,
    join_section_texts,
    matches_heading,
)
from fine_tune_assets.dataset_files.row_reports import split_row_report
from fine_tune_assets.recipes.schema import Heading, ModelTask, PairTask, RowTask, Task


@dataclass(frozen=True)
class SectionCoverage:
    words_in_drafts: int = 0
    words_in_unused_sections: int = 0
    """Under headings that no draft uses."""
    words_before_first_heading: int = 0
    words_under_uncertain_headings: int = 0
    """Under lines that look like headings only by their form."""
    truncated_drafts: int = 0
    truncated_words: int = 0
    """Words after uncertain headings that follow a section of a draft: they may belong to it."""
    inline_sections: int = 0
    """Sections that a task names but can't use, because text follows their heading on the same line."""
    empty_sections: int = 0
    """Sections that a task names and that are empty."""

    @property
    def is_complete(self) -> bool:
        """Whether drafts contain all text of their sections, and tasks get every section that their reports have."""
        return not self.truncated_drafts and not self.inline_sections


def measure_section_coverage(
    read: ReadReports, tasks: Sequence[Task], drafts: pa.Table, rules: SectionRules
) -> SectionCoverage:
    """`read` yields `unique_reports`; `drafts` are the `drafted_examples` made from them."""
    drafted_tasks: dict[str, set[str]] = defaultdict(set)
    for report_id, task in zip(*(drafts.column(name).to_pylist() for name in ("report_id", "task")), strict=True):
        drafted_tasks[report_id].add(task)
    counts: Counter[str] = Counter()
    for report in read():
        counts.update(_measure_report(report, tasks, drafted_tasks, rules))
    counts["truncated_drafts"] = sum(TRUNCATED in distinct_kinds(flags) for flags in drafts.column("flags").to_pylist())
    return SectionCoverage(**counts)


def _measure_report(
    report: ReportText, tasks: Sequence[Task], drafted_tasks: dict[str, set[str]], rules: SectionRules
) -> Counter[str]:
    sections = rules.split(report)
    drafted = [task for task in tasks if task.name in drafted_tasks.get(report.report_id, ())]
    used = [heading for task in drafted for heading in task.used_headings]
    is_whole = _is_fully_used(report.report_id, drafted, tasks, drafted_tasks)
    counts: Counter[str] = Counter()
    for section in sections:
        counts[_classify_section(section, used, is_whole)] += len(section.text.split())
    if not is_whole:
        counts["truncated_words"] = count_cut_off_words(sections, used)
    if split_row_report(report.text) is None:
        counts.update(_count_missing_sections(report.text, sections, [task for task in tasks if task not in drafted]))
    return counts


def _is_fully_used(
    report_id: str, drafted: Sequence[Task], tasks: Sequence[Task], drafted_tasks: dict[str, set[str]]
) -> bool:
    if any(_uses_whole_report(task) for task in drafted):
        return True
    halves = ((task.name, partner_id(report_id, task)) for task in tasks if isinstance(task, PairTask))
    return any(name in drafted_tasks.get(str(other), ()) for name, other in halves)


def _uses_whole_report(task: Task) -> bool:
    if isinstance(task, ModelTask):
        return not task.input_sections
    return isinstance(task, PairTask | RowTask)


def _classify_section(section: Section, used: Sequence[Heading], is_whole: bool) -> str:
    if is_whole or any(matches_heading(heading, section.heading) for heading in used):
        return "words_in_drafts"
    if not section.heading:
        return "words_before_first_heading"
    return "words_in_unused_sections" if section.is_certain else "words_under_uncertain_headings"


def _count_missing_sections(text: str, sections: Sequence[Section], tasks: Collection[Task]) -> Counter[str]:
    """Why tasks without a draft lack sections whose headings are in the report."""
    texts = join_section_texts(sections)
    lacking = {h for task in tasks for h in task.used_headings if find_section(texts, h) is None}
    within = find_inline_headings(text, list_headings(tasks))
    return Counter(
        inline_sections=sum(any(matches_heading(h, name) for name in within) for h in lacking),
        empty_sections=sum(any(matches_heading(h, s.heading) for s in sections) for h in lacking),
    )
