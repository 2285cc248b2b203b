"""Tables of stage 10: corrections and drift."""

from datetime import datetime
from typing import Annotated

from fine_tune_assets.tables.columns_in_common import Passage, PatientKey, ScrubbedInput
from fine_tune_assets.tables.records import Column, Record


class ScrubbedCorrection(Record):
    """A user's correction without identifiers."""

    correction_id: Annotated[str, Column("Id of the correction in the ledger")]
    release_id: Annotated[str, Column("Release that gave the answer")]
    author: Annotated[str, Column("Name of the key or user that sent it")]
    patient_key: PatientKey
    instruction: Annotated[str, Column("What the user asked, scrubbed", is_report_text=True)]
    input: ScrubbedInput
    output: Annotated[str, Column("The corrected answer, scrubbed", is_report_text=True)]
    answer: Annotated[str | None, Column("What the model had answered, scrubbed", is_report_text=True)]
    error_kind: Annotated[str | None, Column("What was wrong with the answer, if the user said so")]
    severity: Annotated[str | None, Column("`low`, `medium`, `high` or `critical`, if the user said so")]
    received_at: Annotated[datetime | None, Column("When it arrived")]
    edit_fraction: Annotated[float | None, Column("Words changed, as a share of the longer text")]
    knowledge_index: Annotated[str | None, Column("Index that the answer was given from; absent without a passage")]
    passages: Annotated[
        tuple[Passage, ...] | None,
        Column(
            "What stood before the question, scrubbed; none where it is gone, absent for any other answer",
            is_report_text=True,
        ),
    ]


class QuarantinedCorrection(Record):
    """A correction, examined."""

    correction_id: Annotated[str, Column("Id of the correction in the ledger")]
    author: Annotated[str, Column("Name of the key or user that sent it")]
    fingerprint: Annotated[str, Column("Of its scrubbed texts: a decision is bound to it")]
    reasons: Annotated[tuple[str, ...], Column("Such as `outlier`, `contradiction`, `flood`; none for an ordinary one")]
    distance: Annotated[float | None, Column("1 less the cosine from the nearest approved output; absent with too few")]
    contradicts: Annotated[tuple[str, ...], Column("Approved examples that state the opposite of it")]
    near_identical: Annotated[int, Column("Corrections that say nearly the same to nearly the same, itself included")]
    state: Annotated[str, Column("`ordinary`, `waiting`, `let_through`, `rejected` or `barred`")]
    decided_by: Annotated[str | None, Column("Who let it through or rejected it")]


class ProductionDrift(Record):
    """A figure of what requests of a window were like."""

    release_id: Annotated[str, Column("Release that answered")]
    window_start: Annotated[datetime, Column("When the first request of the window was answered")]
    window_end: Annotated[datetime, Column("When the window ended")]
    requests: Annotated[int, Column("Requests in it that were read")]
    feature: Annotated[str, Column("What was looked at")]
    measure: Annotated[str, Column("`psi` or `rate`")]
    value: Annotated[float | None, Column("The figure; absent if it could not be told")]
    reference: Annotated[float | None, Column("The rate that it is compared with; absent for distances")]
    reference_size: Annotated[int | None, Column("Training examples or earlier requests that it is compared with")]
    threshold: Annotated[float | None, Column("From where on it is no chance; absent if it is not judged")]
    is_beyond: Annotated[bool | None, Column("Whether it is beyond the threshold; absent if it is not judged")]
    why_not_judged: Annotated[str | None, Column("Why it is not judged")]
