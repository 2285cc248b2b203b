"""Tables of stage 10: corrections and drift."""

from datetime import datetime
from typing import Annotated

from fine_tune_assets.tables.common_columns import Passage, ScrubbedInput, SubjectKey
from fine_tune_assets.tables.record_classes import Column, Record


class ScrubbedCorrection(Record):
    """A user's correction, scrubbed."""

    correction_id: Annotated[str, Column("Id of the correction in the ledger")]
    release_id: Annotated[str, Column("Release that gave the answer")]
    author: Annotated[str, Column("Key or user that sent it")]
    subject_key: SubjectKey
    instruction: Annotated[str, Column("The user's question, scrubbed", is_report_text=True)]
    input: ScrubbedInput
    output: Annotated[str, Column("The corrected answer, scrubbed", is_report_text=True)]
    answer: Annotated[str | None, Column("The model's answer, scrubbed", is_report_text=True)]
    error_kind: Annotated[str | None, Column("Kind of error, if the user stated it")]
    severity: Annotated[str | None, Column("`low`, `medium`, `high` or `critical`, if the user stated it")]
    received_at: Annotated[datetime | None, Column("Time of arrival")]
    edit_fraction: Annotated[float | None, Column("Changed words as a share of the longer text")]
    knowledge_index: Annotated[str | None, Column("Index behind the answer; absent without passages")]
    passages: Annotated[
        tuple[Passage, ...] | None,
        Column(
            "Passages before the question, scrubbed; empty if deleted, absent without any",
            is_report_text=True,
        ),
    ]


class WithheldCorrection(Record):
    """A correction that could not be scrubbed, or in which identifiers remained. The next run tries again."""

    correction_id: Annotated[str, Column("Id of the correction in the ledger")]
    scrubber_version: Annotated[str, Column("Fingerprint of the scrubber")]
    has_identifiers: Annotated[
        bool, Column("Whether identifiers remained; otherwise, removing them took too much time or memory")
    ]


class QuarantinedCorrection(Record):
    """The quarantine check of a correction."""

    correction_id: Annotated[str, Column("Id of the correction in the ledger")]
    author: Annotated[str, Column("Key or user that sent it")]
    fingerprint: Annotated[str, Column("Fingerprint of its scrubbed texts; decisions are bound to it")]
    reasons: Annotated[tuple[str, ...], Column("Reasons such as `outlier`, `contradiction`, `flood`; empty if none")]
    distance: Annotated[float | None, Column("1 minus cosine to the nearest approved output; absent with too few")]
    contradicted_examples: Annotated[tuple[str, ...], Column("Approved examples that state the opposite")]
    near_duplicate_count: Annotated[int, Column("Near-duplicate corrections, including itself")]
    state: Annotated[str, Column("`clear`, `pending`, `accepted`, `rejected` or `blocked`")]
    decided_by: Annotated[str | None, Column("Approver who accepted or rejected it")]


class ProductionDrift(Record):
    """A feature of the requests in a window, compared with a reference."""

    release_id: Annotated[str, Column("Release that answered")]
    window_start: Annotated[datetime, Column("Time of the window's first request")]
    window_end: Annotated[datetime, Column("End of the window")]
    request_count: Annotated[int, Column("Analysed requests")]
    feature: Annotated[str, Column("Feature of the requests")]
    measure: Annotated[str, Column("`psi` or `rate`")]
    value: Annotated[float | None, Column("Value of the statistic; absent if undefined")]
    reference_rate: Annotated[float | None, Column("Reference rate; absent for distances")]
    reference_size: Annotated[int | None, Column("Training examples or earlier requests in the reference")]
    threshold: Annotated[float | None, Column("Drift threshold; absent if not judged")]
    exceeds_threshold: Annotated[bool | None, Column("Whether the value exceeds the threshold; absent if not judged")]
    skip_reason: Annotated[str | None, Column("Why it was not judged")]
