"""Records of a trace: every step of an example by ids, never report text. Times are UTC; unknown values are None."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from fine_tune_assets.tables.instruction_rows import ProvenanceRow

TrainingUse = Literal["trained on", "selected the checkpoint", "evaluated on", "excluded as too long"]
"""How a training used an example: to train, to select the best checkpoint, or only for evaluation."""
USE_BY_SPLIT: dict[str, TrainingUse] = {
    "train": "trained on",
    "validation": "selected the checkpoint",
    "test": "evaluated on",
}


RevocationReason = Callable[[ProvenanceRow], str | None]
"""Maps a set's row to the reason why it is no longer approved. Callers supply it."""


def resolve_use(split: str, example_id: str, too_long: tuple[str, ...] | None) -> TrainingUse:
    """How a training used an example of a split. Only train and validation examples can be excluded as too long."""
    return "excluded as too long" if too_long and example_id in too_long else USE_BY_SPLIT[split]


@dataclass(frozen=True)
class ReportStep:
    report_id: str
    batch: str
    origin_file: str | None
    """None if its raw table no longer contains the report."""
    scrubber_version: str | None
    is_withheld: bool
    kept_report_id: str | None
    """The report that was kept instead, if it is a duplicate."""
    duplicates: tuple[str, ...]
    """Reports that were dropped in favour of this one."""


@dataclass(frozen=True)
class DocumentStep:
    """A passage of a document. Source and version are those at the time of the correction."""

    passage_id: str
    source: str | None
    """None, like the version, if no index contained the passage anymore when the correction arrived."""
    version: str | None


@dataclass(frozen=True)
class DecisionStep:
    decision_id: str
    decision: str
    role: str
    reviewer: str
    decided_at: datetime
    meaning: str
    is_repaired: bool
    revoked_by: str | None
    revoked_at: datetime | None


@dataclass(frozen=True)
class SetStep:
    instruction_set: str
    split: str
    is_erased: bool
    """The set was removed because it contained an erased subject; its other subjects are still known."""
    revocation_reason: str | None
    """Why the approval lapsed; None while it is valid or if it was not checked."""


@dataclass(frozen=True)
class DeploymentStep:
    deployment_id: str
    colour: str
    state: str
    requested_at: datetime
    changed_at: datetime


@dataclass(frozen=True)
class ReleaseStep:
    release_id: str
    verdict_id: str
    recorded_at: datetime
    deployments: tuple[DeploymentStep, ...]

    @property
    def is_live(self) -> bool:
        return any(step.state == "live" for step in self.deployments)


@dataclass(frozen=True)
class VerdictStep:
    verdict_id: str
    decision: str
    recorded_at: datetime


@dataclass(frozen=True)
class TrainingStep:
    adapter_id: str
    instruction_set: str
    split: str
    use: TrainingUse
    has_exclusion_record: bool
    """False for adapters without this record: the example may have been excluded."""
    verdicts: tuple[VerdictStep, ...]
    releases: tuple[ReleaseStep, ...]


@dataclass(frozen=True)
class ExampleTrace:
    example_id: str
    subject_key: str | None
    task: str | None
    source: str | None
    report: ReportStep | None
    documents: tuple["DocumentStep", ...]
    """The passages before its question, in order; empty for an example without any."""
    is_current_draft: bool
    """Whether it is a current draft. Earlier drafts are known only from decisions and sets."""
    decisions: tuple[DecisionStep, ...]
    approved_by: str | None
    approval_kind: str | None
    sets: tuple[SetStep, ...]
    trainings: tuple[TrainingStep, ...]


@dataclass(frozen=True)
class ErasedInRelease:
    release_id: str
    split: str
    use: TrainingUse


@dataclass(frozen=True)
class CopyTrace:
    """Another subject's example with this subject's text, which a model used."""

    own_id: str
    """The subject's report or example that it copies."""
    kind: str
    """`exact` or `near` for a report, `same example` for an example."""
    example: ExampleTrace


@dataclass(frozen=True)
class SubjectTrace:
    """The models that used a subject.

    `examples` are the subject's current ones, `copies` those under another subject's key; `erasure_marks` and `erased_copies`
    cover what was removed.
    """

    subject_key: str
    erased_at: datetime | None
    is_erasure_finished: bool | None
    reports: tuple[ReportStep, ...]
    examples: tuple[ExampleTrace, ...]
    copies: tuple[CopyTrace, ...]
    erasure_marks: tuple[ErasedInRelease, ...]
    erased_copies: tuple[ErasedInRelease, ...]
    """Releases that used the erased subject's text under another subject's key, which is not erased."""

    @property
    def is_in_any_release(self) -> bool:
        """Whether a release used the subject in any way."""
        ways = (*self.examples, *(copy.example for copy in self.copies))
        is_released = any(training.releases for example in ways for training in example.trainings)
        return is_released or bool(self.erasure_marks or self.erased_copies)


@dataclass(frozen=True)
class RevokedExample:
    """An example that a release learned from and that is no longer approved."""

    example_id: str
    split: str
    reason: str


@dataclass(frozen=True)
class SplitCount:
    split: str
    use: TrainingUse
    examples: int
    subjects: int
    general_examples: int


@dataclass(frozen=True)
class ReleaseTrace:
    release_id: str
    adapter_id: str
    base_fingerprint: str
    instruction_set: str
    is_set_erased: bool
    verdicts: tuple[VerdictStep, ...]
    deployments: tuple[DeploymentStep, ...]
    splits: tuple[SplitCount, ...]
    excluded_as_too_long: int | None
    erased: tuple[ErasedInRelease, ...]
    erased_training_subjects: int
    revoked_examples: tuple[RevokedExample, ...] | None
    """None if the set does not record the decisions, or if approvals were not checked."""
    corrections: tuple[str, ...] | None = None
    """Ids of the corrections that it learned from; None if the set does not record its sources."""


@dataclass(frozen=True)
class CorrectionTrace:
    """The path of a user's correction, including its quarantine state."""

    correction_id: str
    release_id: str
    """The release whose answer it corrects."""
    author: str
    received_at: datetime
    quarantine_state: str | None
    """`pending`, `accepted`, `rejected` or `blocked`; None if it was never quarantined."""
    knowledge_index: str | None
    """The index that the answer used; None for an answer without passages."""
    documents: tuple[DocumentStep, ...]
    """The passages that the answer used."""
    examples: tuple["ExampleTrace", ...]
    """Examples made from it, with their sets, trainings and releases; empty while it is not drafted."""
