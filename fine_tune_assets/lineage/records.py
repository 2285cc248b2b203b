"""The records of a trace: every step of an example's way, by ids. Never text of a report.

Owns their fields. Times are UTC; what is not known is None, never a guess.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Use = Literal["learned from", "chose the checkpoint", "measured on", "left out as too long"]
"""What a training did with an example: trained on it, took the best checkpoint by it, or only measured with it."""
USE_OF_SPLIT: dict[str, Use] = {"train": "learned from", "validation": "chose the checkpoint", "test": "measured on"}


WhyNot = Callable[[Mapping[str, Any]], str | None]
"""A row of a set → why it is not approved any more. Who traces hands it over: lineage does not know when approvals stand."""


def use_of(split: str, example_id: str, too_long: tuple[str, ...] | None) -> Use:
    """What a training did with an example of a split. Only train and validation can be left out: tests are not trained on."""
    return "left out as too long" if too_long and example_id in too_long else USE_OF_SPLIT[split]


@dataclass(frozen=True)
class ReportStep:
    report_id: str
    batch: str
    origin_file: str | None
    """None once its raw table has no such report."""
    scrubber_version: str | None
    is_held_back: bool
    kept_instead: str | None
    """The report that stays in its place, if it is a duplicate."""
    duplicates: tuple[str, ...]
    """Reports that were dropped in favour of this one."""


@dataclass(frozen=True)
class DocumentStep:
    """A passage of a document. Source and version are as the document had them when its answer was corrected."""

    passage_id: str
    source: str | None
    """None, as the version, where it was gone from every index before the correction came."""
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
    """The set was removed since it held an erased patient; who else was in it is still known."""
    not_approved: str | None
    """What became of the approval by which it is in the set; None while it stands, or where nobody asked."""


@dataclass(frozen=True)
class DeploymentStep:
    deployment_id: str
    colour: str
    state: str
    wanted_at: datetime
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
    use: Use
    is_too_long_known: bool
    """False for adapters of before this was kept: an example may have been left out."""
    verdicts: tuple[VerdictStep, ...]
    releases: tuple[ReleaseStep, ...]


@dataclass(frozen=True)
class ExampleTrace:
    example_id: str
    patient_key: str | None
    task: str | None
    source: str | None
    report: ReportStep | None
    documents: tuple["DocumentStep", ...]
    """The passages before its question, in their order; empty for an example without any."""
    is_drafted: bool
    """It is a draft now. Drafts of before are known by their decisions and sets only."""
    decisions: tuple[DecisionStep, ...]
    approved_by: str | None
    approval_kind: str | None
    sets: tuple[SetStep, ...]
    trainings: tuple[TrainingStep, ...]


@dataclass(frozen=True)
class ErasedInRelease:
    release_id: str
    split: str
    use: Use


@dataclass(frozen=True)
class CopyTrace:
    """An example of another patient with this patient's words, which a model saw."""

    own: str
    """The patient's report or example of which it is a copy."""
    likeness: str
    """`exact` or `near` for a report, `same example` for an example."""
    example: ExampleTrace


@dataclass(frozen=True)
class PatientTrace:
    """Which models saw this patient: `examples` for what is there, `copies` for what is there under another patient's key, and
    `erased_in_releases` and `erased_copies` for what was removed."""

    patient_key: str
    erased_at: datetime | None
    is_erasure_finished: bool | None
    reports: tuple[ReportStep, ...]
    examples: tuple[ExampleTrace, ...]
    copies: tuple[CopyTrace, ...]
    erased_in_releases: tuple[ErasedInRelease, ...]
    erased_copies: tuple[ErasedInRelease, ...]
    """Releases that saw the erased patient's words under another patient's key, where they stay."""

    @property
    def is_seen(self) -> bool:
        """Whether a release saw the patient, by whatever way."""
        ways = (*self.examples, *(copy.example for copy in self.copies))
        made = any(training.releases for example in ways for training in example.trainings)
        return made or bool(self.erased_in_releases or self.erased_copies)


@dataclass(frozen=True)
class NotApproved:
    """An example that a release learned from and that is not approved any more."""

    example_id: str
    split: str
    why: str


@dataclass(frozen=True)
class SplitCount:
    split: str
    use: Use
    examples: int
    patients: int
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
    left_out_as_too_long: int | None
    erased: tuple[ErasedInRelease, ...]
    erased_patients_learned_from: int
    not_approved: tuple[NotApproved, ...] | None
    """None where the set does not say by which decisions its examples were approved, or where nobody asked."""
    corrections: tuple[str, ...] | None = None
    """Ids of the users' corrections that it learned from; None where the set does not say what its examples were made of."""


@dataclass(frozen=True)
class CorrectionTrace:
    """The way of a user's correction. What became of it in quarantine is told by its state there."""

    correction_id: str
    release_id: str
    """The release whose answer it corrects."""
    author: str
    received_at: datetime
    quarantine: str | None
    """`waiting`, `let_through`, `rejected` or `barred`; None if it was never kept apart."""
    knowledge_index: str | None
    """The index that the answer was given from; None where no passage stood before the question."""
    documents: tuple[DocumentStep, ...]
    """The passages that it was given from."""
    examples: tuple["ExampleTrace", ...]
    """What was made of it, with the sets, trainings and releases that it is in; empty while it is no draft."""
