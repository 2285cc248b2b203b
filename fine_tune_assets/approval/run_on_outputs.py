"""Counts the outputs of a recipe's tasks that may run on past their section, such as into closing remarks.

Two signs: a line inside the section that looks like a heading and ends nothing, and a last line that many outputs share. Neither
is certain, so nothing is cut.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fine_tune_assets.approval.task_kinds import UncheckedDraft
from fine_tune_assets.claims.repeated_lines import MIN_REPORTS, MIN_SHARE
from fine_tune_assets.claims.sections import Section, matches_heading
from fine_tune_assets.recipes.schema import SectionTask, Task


@dataclass(frozen=True)
class RunOnOutputs:
    task: str
    drafts: int
    with_headings: int
    """Outputs with a line that looks like a heading."""
    with_shared_end: int
    """Outputs whose last line many others share."""
    shared_ends: tuple[tuple[str, int], ...] = field(repr=False)
    """Last line → outputs, the most frequent first; text of reports."""


def has_inner_heading(sections: Iterable[Section], task: Task) -> bool:
    """Whether the output's section contains a line that looks like a heading."""
    return isinstance(task, SectionTask) and any(
        section.inner_headings for section in sections if matches_heading(task.output_section, section.heading)
    )


def find_run_on_outputs(
    tasks: Sequence[Task], drafts: Iterable[UncheckedDraft], with_headings: Mapping[str, int]
) -> Iterator[RunOnOutputs]:
    """`with_headings`: task → outputs with a line that looks like a heading."""
    by_task: dict[str, list[UncheckedDraft]] = defaultdict(list)
    for draft in drafts:
        by_task[draft.task].append(draft)
    for task in tasks:
        found = by_task[task.name]
        ends = _count_shared_ends(found) if isinstance(task, SectionTask) and not task.labels else Counter[str]()
        if with_headings.get(task.name) or ends:
            ordered = tuple(sorted(ends.items(), key=lambda one: (-one[1], one[0])))
            yield RunOnOutputs(task.name, len(found), with_headings.get(task.name, 0), ends.total(), ordered)


def _count_shared_ends(drafts: Sequence[UncheckedDraft]) -> Counter[str]:
    """The last lines that many outputs of a source share. A single line is the output itself."""
    ends: dict[str, Counter[str]] = defaultdict(Counter)
    for draft in drafts:
        lines = [" ".join(line.split()) for line in draft.output.splitlines() if line.strip()]
        ends[draft.source][lines[-1] if len(lines) > 1 else ""] += 1
    shared = Counter[str]()
    for counts in ends.values():
        floor = max(MIN_REPORTS, MIN_SHARE * counts.total())
        shared += Counter({line: count for line, count in counts.items() if line and count >= floor})
    return shared
