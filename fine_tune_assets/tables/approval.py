"""Tables of stage 4: drafts, and examples that people approved."""

from typing import Annotated

from fine_tune_assets.tables.columns_in_common import (
    ExampleId,
    Instruction,
    PatientKey,
    ScrubbedInput,
    ScrubbedOutput,
    Source,
    Task,
)
from fine_tune_assets.tables.records import Column, Record


class ModelDraft(Record):
    """An output that a model wrote, for an expert to repair."""

    request: Annotated[str, Column("SHA-256 of task, instruction and input: what the model was asked")]
    report_id: Annotated[str, Column("Report that the input was made from")]
    patient_key: PatientKey
    task: Task
    output: Annotated[str, Column("What the model wrote", is_report_text=True)]
    is_finished: Annotated[bool, Column("False when it was cut off at `max_new_tokens`")]
    drafted_by: Annotated[str, Column("`model` and the short fingerprint of the model or release that wrote it")]


class DraftedExample(Record):
    """An example that nobody has approved yet."""

    example_id: ExampleId
    report_id: Annotated[str, Column("Report or correction it was made from")]
    source: Source
    patient_key: PatientKey
    task: Task
    instruction: Instruction
    input: ScrubbedInput
    output: ScrubbedOutput
    drafted_by: Annotated[
        str | None,
        Column(
            "`sections`, `fields`, `pairs`, `correction`, `correction with passages`, or `model` with its short fingerprint"
        ),
    ]
    flags: Annotated[
        tuple[str, ...],
        Column("What a reviewer should look at, such as a number not in the input", is_report_text=True),
    ]
    needs_review: Annotated[bool | None, Column("False when a trusted source's name is enough to approve it")]
    fingerprint: Annotated[str, Column("SHA-256 of instruction, input and output: what an approval is bound to")]


class ApprovedExample(Record):
    """An example that may be trained on."""

    example_id: ExampleId
    report_id: Annotated[str, Column("Report or correction it was made from")]
    source: Source
    patient_key: PatientKey
    task: Task
    instruction: Instruction
    input: ScrubbedInput
    output: ScrubbedOutput
    approved_by: Annotated[str, Column("Reviewers who stand behind it, or who the recipe says wrote what it trusts")]
    approval_kind: Annotated[str, Column("`expert` or `trusted_source`")]
    decision_id: Annotated[str | None, Column("The decision in the ledger that settled it")]
    decision_ids: Annotated[tuple[str, ...] | None, Column("Every decision that counts for it, in their order")]
    fingerprint: Annotated[str, Column("SHA-256 of instruction, input and output as approved")]
