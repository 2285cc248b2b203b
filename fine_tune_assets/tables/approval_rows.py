"""Tables of stage 4: drafts and approved examples."""

from enum import StrEnum
from typing import Annotated

from fine_tune_assets.tables.common_columns import (
    ExampleId,
    Instruction,
    ReportId,
    ScrubbedInput,
    ScrubbedOutput,
    Source,
    SubjectKey,
    Task,
)
from fine_tune_assets.tables.record_classes import Column, Record


class SentenceSource(Record):
    """A sentence of a draft with the lines of its input that the verifier read it against. Offsets only, no text."""

    start: Annotated[int, Column("First character of the sentence in the output")]
    end: Annotated[int, Column("End of the sentence in the output")]
    source_start: Annotated[
        int | None, Column("First character of its source in the input; empty if no line shares a word")
    ]
    source_end: Annotated[int | None, Column("End of its source in the input")]
    supported: Annotated[float, Column("Probability that the input supports the sentence")]
    contradicted: Annotated[float, Column("Probability that the input contradicts it")]
    not_mentioned: Annotated[float, Column("Probability that the input does not mention it")]
    veto: Annotated[str, Column("Grounding check that overruled the verifier, such as `numbers`; empty if none did")]


class ModelDraft(Record):
    """An output that a model drafted, and what the verifier found in it. Only drafts that it supports reach a reviewer."""

    request_fingerprint: Annotated[str, Column("SHA-256 of task, instruction, questions per report and input")]
    number: Annotated[int, Column("Number of the question in its request, from 1; 0 for the instruction of the task")]
    report_id: Annotated[str, Column("Report that the input comes from")]
    subject_key: SubjectKey
    task: Task
    instruction: Annotated[str, Column("Instruction of the task, or the model's question", is_report_text=True)]
    output: Annotated[str, Column("The model's output", is_report_text=True)]
    is_finished: Annotated[bool, Column("False if the output was cut off at `max_new_tokens`")]
    drafted_by: Annotated[str, Column("`model` and the short fingerprint of its model or release")]
    sources: Annotated[
        tuple[SentenceSource, ...] | None, Column("Each sentence with its source; empty before the check")
    ]
    checked_by: Annotated[str | None, Column("Verifier and threshold of the check; empty before the check")]
    dropped: Annotated[str | None, Column("Reason why no reviewer sees the draft; empty for the others")]

    @property
    def is_supported(self) -> bool:
        """Whether the check found a source for every sentence. False before the check."""
        return self.checked_by is not None and self.dropped is None


class CheckableDraft(Record):
    """A draft for the verifier."""

    request_fingerprint: str
    number: int
    question: str
    """Empty if the instruction comes from the recipe."""
    input: str
    output: str


class DraftCheck(Record):
    """The verifier's result for one draft."""

    request_fingerprint: str
    number: int
    sources: tuple[SentenceSource, ...]
    checked_by: str
    dropped: str | None


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
    sources: Annotated[
        tuple[SentenceSource, ...] | None, Column("Each sentence of a model's output with its source; empty for others")
    ] = None
    checked_by: Annotated[str | None, Column("Verifier and threshold that checked a model's output")] = None


class UndraftedReason(StrEnum):
    """Why a unique report is part of no draft."""

    NOT_USED = "not_used"
    """No task of the recipe can use it."""
    DRAFT_DROPPED = "draft_dropped"
    DRAFT_MISSING = "draft_missing"
    """A model was to write it."""


class UndraftedReport(Record):
    """A unique report that is part of no draft."""

    report_id: ReportId
    reason: Annotated[str, Column("`not_used`, `draft_dropped` or `draft_missing`")]
    detail: Annotated[str, Column("What the first task lacks, such as a section, by its name in the recipe")]


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


class WithheldExampleReason(StrEnum):
    """Why an approved draft is not used."""

    MARKED_IDENTIFIER = "marked_draft"
    RESTRICTED_DOCUMENT = "restricted_document"
    AUTHOR_SHARE = "author_share"


class WithheldExample(Record):
    """An approved draft that is not used."""

    example_id: ExampleId
    reason: Annotated[str, Column("`marked_draft`, `restricted_document` or `author_share`")]
