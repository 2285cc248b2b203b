"""Tables of stage 4: drafts and approved examples."""

from typing import Annotated

from fine_tune_assets.tables.common_columns import (
    ExampleId,
    Instruction,
    ScrubbedInput,
    ScrubbedOutput,
    Source,
    SubjectKey,
    Task,
)
from fine_tune_assets.tables.record_classes import Column, Record


class ModelDraft(Record):
    """An output that a model drafted for an expert to repair."""

    request_fingerprint: Annotated[str, Column("SHA-256 of task, instruction and input of the request")]
    report_id: Annotated[str, Column("Report that the input comes from")]
    subject_key: SubjectKey
    task: Task
    output: Annotated[str, Column("The model's output", is_report_text=True)]
    is_finished: Annotated[bool, Column("False if the output was cut off at `max_new_tokens`")]
    drafted_by: Annotated[str, Column("`model` and the short fingerprint of its model or release")]


class DraftedExample(Record):
    """An example without approval."""

    example_id: ExampleId
    report_id: Annotated[str, Column("Report or correction that it comes from")]
    source: Source
    subject_key: SubjectKey
    task: Task
    instruction: Instruction
    input: ScrubbedInput
    output: ScrubbedOutput
    drafted_by: Annotated[
        str | None,
        Column(
            "`sections`, `fields`, `pairs`, `rows`, `correction`, `correction with passages`, or `model` with fingerprint"
        ),
    ]
    flags: Annotated[
        tuple[str, ...],
        Column("Flags for the reviewer, such as a number not in the input", is_report_text=True),
    ]
    needs_review: Annotated[bool | None, Column("False if a trusted source suffices for approval")]
    fingerprint: Annotated[str, Column("SHA-256 of instruction, input and output; approvals are bound to it")]


class ApprovedExample(Record):
    """An example approved for training."""

    example_id: ExampleId
    report_id: Annotated[str, Column("Report or correction that it comes from")]
    source: Source
    subject_key: SubjectKey
    task: Task
    instruction: Instruction
    input: ScrubbedInput
    output: ScrubbedOutput
    approved_by: Annotated[str, Column("Reviewers who approved it, or author named by the recipe")]
    approval_kind: Annotated[str, Column("`expert` or `trusted_source`")]
    decision_id: Annotated[str | None, Column("Decision in the ledger that approved it")]
    decision_ids: Annotated[tuple[str, ...] | None, Column("Every decision that counts for it, in order")]
    fingerprint: Annotated[str, Column("SHA-256 of instruction, input and output as approved")]
