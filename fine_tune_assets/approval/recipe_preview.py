"""What a recipe would make of reports, before anything is scrubbed: sections, drafts per task, and why a report makes none.

Everything but the examples and the unnamed headings is counts and names of the recipe or the domain pack.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from fine_tune_assets.approval.preview_examples import (
    DraftExample,
    UnnamedHeading,
    UnnamedHeadings,
    list_draft_examples,
)
from fine_tune_assets.approval.run_on_outputs import RunOnOutputs, find_run_on_outputs, has_inner_heading
from fine_tune_assets.approval.task_kinds import (
    ReportText,
    UncheckedDraft,
    build_requests,
    draft_reports,
    list_headings,
    read_section_rules,
)
from fine_tune_assets.claims.sections import (
    Section,
    find_inline_headings,
    find_section,
    join_section_texts,
    list_heading_variants,
    matches_heading,
)
from fine_tune_assets.recipes.schema import Heading, ModelTask, PairTask, RowTask, SectionTask, Task

NO_SECTION, EMPTY_SECTION, INLINE_HEADING = (
    "no section",
    "empty section",
    "text on the line of the heading (set inline_headings)",
)
OTHER_LABEL, NO_PARTNER = "output is no label of the task", "no partner report"
OTHER_SOURCE = "source is not one of the task's"


@dataclass(frozen=True)
class TaskPreview:
    task: str
    drafts: int
    """Drafts from the text; for tasks of the kind `model`, requests to the model."""
    left_out: dict[str, int]
    """Reason → reports without a draft. A report that lacks two sections counts under both."""
    left_out_by_source: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Preview:
    reports: int
    sections: dict[str, int]
    """Certain heading → reports with text under it."""
    uncertain_headings: int
    """Lines that look like headings, by form only."""
    tasks: tuple[TaskPreview, ...]
    drafts: tuple[UncheckedDraft, ...] = field(repr=False)
    reports_without_draft: int
    examples: tuple[DraftExample, ...]
    unnamed_headings: tuple[UnnamedHeading, ...]
    run_on_outputs: tuple[RunOnOutputs, ...]


def preview_recipe(reports: Sequence[ReportText], tasks: Sequence[Task], section_names: Collection[str]) -> Preview:
    """`section_names` are the known ones of the recipe's domain."""
    rules = read_section_rules(lambda: reports, tasks, section_names)
    drafts = list(draft_reports(lambda: reports, tasks, [], rules))
    requests = list(build_requests(lambda: reports, tasks, rules))
    with_draft = {(draft.report_id, draft.task) for draft in drafts} | {(one.report_id, one.task) for one in requests}
    sections, uncertain, unnamed, run_on = Counter[str](), 0, UnnamedHeadings(), Counter[str]()
    reasons: dict[str, defaultdict[str, Counter[str]]] = {task.name: defaultdict(Counter) for task in tasks}
    for report in reports:
        parts = rules.split(report)
        sections.update({part.heading for part in parts if part.is_certain and part.heading and part.text})
        unnamed.add(parts)
        uncertain += sum(not part.is_certain for part in parts)
        for task in tasks:
            if (report.report_id, task.name) not in with_draft:
                reasons[task.name][report.source].update(set(explain_lack(report, parts, task)))
            elif has_inner_heading(parts, task):
                run_on[task.name] += 1
    counts = Counter([draft.task for draft in drafts] + [request.task for request in requests])
    return Preview(
        reports=len(reports),
        sections=dict(sorted(sections.items(), key=lambda item: (-item[1], item[0]))),
        uncertain_headings=uncertain,
        tasks=tuple(_preview_task(t.name, counts[t.name], reasons[t.name]) for t in tasks),
        drafts=tuple(drafts),
        reports_without_draft=len(reports) - len({report_id for report_id, _ in with_draft}),
        examples=tuple(list_draft_examples(reports, drafts, tasks, rules)),
        unnamed_headings=unnamed.list(),
        run_on_outputs=tuple(find_run_on_outputs(tasks, drafts, run_on)),
    )


def _preview_task(task: str, drafts: int, by_source: Mapping[str, Counter[str]]) -> TaskPreview:
    total = sum(by_source.values(), Counter[str]())
    return TaskPreview(
        task, drafts, dict(sorted(total.items())), {source: dict(found) for source, found in by_source.items()}
    )


def explain_lack(report: ReportText, parts: Sequence[Section], task: Task) -> list[str]:
    """Why a report makes no draft of a task. A row of a data set and a report are not expected to fit the other's tasks."""
    if isinstance(task, RowTask):
        return []
    if isinstance(task, PairTask):
        is_half = report.report_id.endswith((task.input_suffix, task.output_suffix))
        return [NO_PARTNER] if is_half and not report.report_id.endswith(task.input_suffix) else []
    if isinstance(task, ModelTask) and task.sources and report.source not in task.sources:
        return [OTHER_SOURCE]
    lacking = _find_lacking(report, parts, task)
    if lacking:
        return lacking
    return [OTHER_LABEL] if isinstance(task, SectionTask) and task.labels else []


def _find_lacking(report: ReportText, parts: Sequence[Section], task: SectionTask | ModelTask) -> list[str]:
    texts, inline = join_section_texts(parts), find_inline_headings(report.text, list_headings([task]))
    return [
        f"{_describe_lack(heading, parts, inline)}: {list_heading_variants(heading)[0]}"
        for heading in task.used_headings
        if find_section(texts, heading) is None
    ]


def _describe_lack(heading: Heading, parts: Sequence[Section], inline: Collection[str]) -> str:
    if any(matches_heading(heading, name) for name in inline):
        return INLINE_HEADING
    return EMPTY_SECTION if any(matches_heading(heading, part.heading) for part in parts) else NO_SECTION
