"""Lists the unique reports that are part of no draft, each with one reason, so that they are counted instead of lost."""

from collections import defaultdict
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.approval.recipe_preview import NO_PARTNER, explain_lack
from fine_tune_assets.approval.task_kinds import ReportText, SectionRules, partner_id
from fine_tune_assets.dataset_files.row_reports import split_row_report
from fine_tune_assets.recipes.schema import ModelTask, PairTask, RowTask, Task
from fine_tune_assets.tables.approval_rows import UndraftedReason, UndraftedReport
from fine_tune_assets.tables.record_classes import iter_records

NO_ROW_TASK, NO_TASK = "row of a data set, which no task of the kind `rows` takes", "no task uses it"
NOT_WRITTEN, NOT_CHECKED = "not written", "not checked"


def list_undrafted_reports(
    unique: pa.Table, drafts: pa.Table, model_drafts: pa.Table, tasks: Sequence[Task], rules: SectionRules
) -> list[UndraftedReport]:
    """Sorted by id."""
    used = pa.array(sorted(_list_used(drafts, tasks)), pa.string())
    unused = unique.filter(pc.invert(pc.is_in(unique["report_id"], value_set=used)))
    dropped: dict[str, list[str | None]] = defaultdict(list)
    for row in model_drafts.select(["report_id", "dropped"]).to_pylist():
        dropped[row["report_id"]].append(row["dropped"])
    found = (
        _explain(report, tasks, dropped.get(report.report_id, []), rules) for report in iter_records(ReportText, unused)
    )
    return sorted(found, key=lambda row: row.report_id)


def _list_used(drafts: pa.Table, tasks: Sequence[Task]) -> set[str]:
    """The reports of drafts and their partners, such as the dialogue of a note."""
    pairs = {task.name: task for task in tasks if isinstance(task, PairTask)}
    used = set(drafts["report_id"].to_pylist())
    for report_id, name in zip(drafts["report_id"].to_pylist(), drafts["task"].to_pylist(), strict=True):
        if name in pairs and (partner := partner_id(report_id, pairs[name])) is not None:
            used.add(partner)
    return used


def _explain(
    report: ReportText, tasks: Sequence[Task], dropped: Sequence[str | None], rules: SectionRules
) -> UndraftedReport:
    """The reason of a model's draft comes first: nothing else of the report came closer to a draft."""

    def undrafted(reason: UndraftedReason, detail: str) -> UndraftedReport:
        return UndraftedReport(report_id=report.report_id, reason=reason.value, detail=detail)

    if None in dropped:
        return undrafted(UndraftedReason.DRAFT_MISSING, NOT_CHECKED)
    if dropped:
        return undrafted(UndraftedReason.DRAFT_DROPPED, min(filter(None, dropped)))
    if split_row_report(report.text) is not None:
        is_taken = any(isinstance(task, RowTask) for task in tasks)
        return undrafted(UndraftedReason.NOT_USED, NO_TASK if is_taken else NO_ROW_TASK)
    sections = rules.split(report)
    for task in tasks:
        if isinstance(task, PairTask) and partner_id(report.report_id, task) is not None:
            return undrafted(UndraftedReason.NOT_USED, NO_PARTNER)
        lack = explain_lack(report, sections, task)
        if lack:
            return undrafted(UndraftedReason.NOT_USED, lack[0])
        if isinstance(task, ModelTask):
            return undrafted(UndraftedReason.DRAFT_MISSING, NOT_WRITTEN)
    return undrafted(UndraftedReason.NOT_USED, NO_TASK)
