"""Drafts examples: from reports by a recipe's tasks, and from users' corrections.

Owns what a draft is, what a reviewer is warned of, and what an approval is bound to. How each kind of task makes instruction,
input and output is in task_kinds. Does not know who approves.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.approval.draft_checks import check_output, flag_across
from fine_tune_assets.approval.dropped_reports import DroppedReports, flags_by_dropped, halves_of_pairs
from fine_tune_assets.approval.flags import FLAG_KINDS, kinds_of
from fine_tune_assets.approval.task_kinds import WRITTEN_BY_MODEL, Drafted, ReportText, drafts_by_tasks
from fine_tune_assets.claims.saying import normal
from fine_tune_assets.core.fingerprints import fingerprint_json, short
from fine_tune_assets.core.prompts.retrieval_contract import carried_passages, example_with_passages
from fine_tune_assets.core.records import PairFinder
from fine_tune_assets.recipes.schema import Task
from fine_tune_assets.tables.approval import DraftedExample, ModelDraft
from fine_tune_assets.tables.corrections import ScrubbedCorrection
from fine_tune_assets.tables.dedup import UniqueReport
from fine_tune_assets.tables.records import check_table, records_of, table_from

CORRECTION = "correction"
"""Source of a draft that was made from a user's correction; and its task, if its instruction is that of no task."""
WITH_PASSAGES = "correction with passages"
"""What a draft is made by that has the passages of the corrected answer before its question."""


def content_fingerprint(instruction: str, input_text: str, output: str) -> str:
    """What an approval is bound to: change a character, and it is another example."""
    return fingerprint_json({"instruction": instruction, "input": input_text, "output": output})


def draft_examples(
    unique: pa.Table,
    corrections: pa.Table,
    tasks: Sequence[Task],
    written: pa.Table | None = None,
    *,
    reviewed_flags: Collection[str] = FLAG_KINDS,
    find_pairs: PairFinder | None = None,
    dropped: DroppedReports | None = None,
    passage_template: str | None = None,
) -> pa.Table:
    """`drafted_examples` of unique reports and scrubbed corrections, sorted by example id.

    `written` are the `ModelDraft` rows that there are; what a model has not written yet is no draft. A draft with a flag
    of `reviewed_flags` needs a reviewer. `find_pairs` finds near-same inputs; without it only equal ones are compared.
    `dropped` are the duplicates that `unique` is without: what contradicts them is flagged too. `passage_template` puts the
    passages that a corrected answer was given from before its question, as the gateway does; None leaves them away.
    """
    check_table(unique, UniqueReport.SCHEMA)
    check_table(corrections, ScrubbedCorrection.SCHEMA)
    outputs = [] if written is None else list(records_of(ModelDraft, written))
    halves = {} if dropped is None else halves_of_pairs(dropped, tasks)
    drafts = [
        _draft(drafted) for drafted in drafts_by_tasks(lambda: records_of(ReportText, unique), tasks, outputs, halves)
    ]
    task_of = task_of_instruction(tasks)
    found = records_of(ScrubbedCorrection, corrections)
    drafts += [_draft_of_correction(correction, task_of, passage_template) for correction in found]
    # By content, not by order of arrival: the same reports in another order make the same table.
    drafts.sort(key=lambda draft: draft.example_id)
    across = flag_across(drafts, find_pairs)
    by_dropped = {} if dropped is None else flags_by_dropped(dropped, tasks)
    always = {*reviewed_flags, WRITTEN_BY_MODEL}

    def flagged(draft: DraftedExample) -> DraftedExample:
        others = (*across.get(draft.example_id, ()), *by_dropped.get((draft.report_id, draft.task), ()))
        flags = (*draft.flags, *others)
        return replace(draft, flags=flags, needs_review=not always.isdisjoint(kinds_of(flags)))

    return table_from(DraftedExample, map(flagged, drafts))


def reports_without_draft(unique: pa.Table, drafts: pa.Table) -> list[str]:
    """Ids of the reports that no task could use, sorted: they are counted, never silently lost."""
    used = pc.is_in(unique.column("report_id"), value_set=drafts.column("report_id").combine_chunks())
    return sorted(unique.filter(pc.invert(used)).column("report_id").to_pylist())


def task_of_instruction(tasks: Sequence[Task]) -> Callable[[str], str]:
    """Which task a correction belongs to: the one with its instruction, without regard to case, signs and spaces; else none."""
    names = {normal(task.instruction): task.name for task in tasks}
    return lambda instruction: names.get(normal(instruction), CORRECTION)


def correction_report_id(correction_id: str) -> str:
    return f"{CORRECTION}/{correction_id}"


def correction_authors(corrections: pa.Table) -> dict[str, str]:
    """`report_id` of a draft made from a correction → who wrote the correction, and so can't approve it."""
    ids, authors = (corrections.column(name).to_pylist() for name in ("correction_id", "author"))
    return dict(zip(map(correction_report_id, ids), authors, strict=True))


def asked_of_correction(correction: ScrubbedCorrection, passage_template: str | None) -> tuple[str, str]:
    """Instruction and input of the example that a scrubbed correction becomes."""
    if passage_template is None or not correction.passages:
        return correction.instruction, correction.input
    passages = carried_passages(map(vars, correction.passages))
    return example_with_passages(correction.instruction, correction.input, passages, passage_template)


def _draft_of_correction(
    correction: ScrubbedCorrection, task_of: Callable[[str], str], passage_template: str | None
) -> DraftedExample:
    asked = (correction.instruction, correction.input)
    instruction, input_text = asked_of_correction(correction, passage_template)
    return _draft(
        Drafted(
            report_id=correction_report_id(correction.correction_id),
            source=CORRECTION,
            patient_key=correction.patient_key,
            task=task_of(correction.instruction),
            instruction=instruction,
            input=input_text,
            output=correction.output,
            drafted_by=CORRECTION if (instruction, input_text) == asked else WITH_PASSAGES,
        )
    )


def _draft(drafted: Drafted) -> DraftedExample:
    fingerprint = content_fingerprint(drafted.instruction, drafted.input, drafted.output)
    # The instruction may state a number or a side too.
    unsupported = check_output(drafted.output, f"{drafted.instruction}\n{drafted.input}")
    return DraftedExample(
        example_id=short(fingerprint_json([drafted.report_id, drafted.task, fingerprint])),
        report_id=drafted.report_id,
        source=drafted.source,
        patient_key=drafted.patient_key,
        task=drafted.task,
        instruction=drafted.instruction,
        input=drafted.input,
        output=drafted.output,
        drafted_by=drafted.drafted_by,
        flags=(*drafted.flags, *unsupported),
        needs_review=None,
        fingerprint=fingerprint,
    )
