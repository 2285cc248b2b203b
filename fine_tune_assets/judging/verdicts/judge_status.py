"""Whether a judge may decide about a candidate: its qualification for every task and criterion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from fine_tune_assets.judging.judges.criterion_qualification import CriterionQualification, qualify_criterion
from fine_tune_assets.judging.judges.grades import JudgeKind, describe_blind_spots
from fine_tune_assets.judging.judges.judge_family import describe_same_family, same_family_reason
from fine_tune_assets.judging.judges.judge_qualification import (
    JudgeQualification,
    disqualification_reason,
    qualify_judge,
)
from fine_tune_assets.judging.judges.labelled_sets import OWN_EXPERTS
from fine_tune_assets.judging.judges.own_domain import OwnEvidence, qualify_criterion_in_domain, qualify_in_domain
from fine_tune_assets.judging.judges.rubrics import Rubric
from fine_tune_assets.judging.verdicts.verdict_metrics import round_finite


@dataclass(frozen=True)
class JudgeStatus:
    version: str
    kind: str
    agreement: float | None
    floor: float
    is_qualified: bool
    failure_reason: str
    """Why the judge is not qualified, and the step that qualifies one; empty if it is."""
    blind_spots: str
    labelled_sets: Mapping[str, str]
    """Name → fingerprint of the labelled answers behind its qualification."""
    ungraded_criteria: tuple[str, ...] = ()
    """Criteria of the rubric about which the judge may not decide."""


@dataclass(frozen=True)
class JudgeRequirements:
    """What a judge must be qualified for."""

    kind: JudgeKind
    floor: float
    tasks: tuple[str, ...]
    labelled_sets: Mapping[str, Mapping[str, str]]
    """Task → name and current fingerprint of each labelled set that its qualification may use."""
    rubric: Rubric = ()
    """Criteria of the grade with their weights."""
    is_same_family: bool = False
    """Whether the judge's language model and the candidate's base model are of one family."""
    label_tasks: frozenset[str] = frozenset()
    """Tasks whose answers are fixed labels, about which a language model grades nothing."""
    own: OwnEvidence | None = None
    """In a domain without shipped ratings, what the qualification rests on."""


def judge_status(version: str, agreement_table: pa.Table, requirements: JudgeRequirements) -> JudgeStatus:
    """Whether the judge is qualified for every task. An unqualified judge informs but does not decide."""
    own = _qualify_overall(version, agreement_table, requirements)
    criteria = qualify_criteria(version, agreement_table, requirements)
    why_not = own.failure_reason or _undecided_criteria(requirements.rubric, criteria)
    if why_not:
        ungraded = tuple(one.name for one in requirements.rubric if one.measured_by != "form")
    else:
        ungraded = tuple(one.name for one in criteria if one.failure_reason)
    return replace(own, is_qualified=not why_not, failure_reason=why_not, ungraded_criteria=ungraded)


def _qualify_overall(version: str, agreement_table: pa.Table, requirements: JudgeRequirements) -> JudgeStatus:
    qualifications = qualify_tasks(version, agreement_table, requirements)
    reasons = {
        found.task: why
        for found in qualifications
        if (
            why := found.failure_reason
            if requirements.own
            else disqualification_reason(found, requirements.labelled_sets[found.task])
        )
    }
    agreements = [qualification.agreement for qualification in qualifications if qualification.agreement is not None]
    agreement = round_finite(min(agreements)) if agreements else None
    why_not = _merge_reasons(reasons, requirements.tasks)
    why_not = why_not or same_family_reason(requirements.kind, requirements.is_same_family)
    return JudgeStatus(
        version=version,
        kind=requirements.kind,
        agreement=agreement,
        floor=requirements.floor,
        is_qualified=not why_not,
        failure_reason=why_not,
        # Every test example has an approved answer.
        blind_spots=describe_blind_spots(requirements.kind, has_reference=True)
        + describe_same_family(requirements.is_same_family),
        labelled_sets=_labelled_sets(qualifications),
    )


def qualify_tasks(version: str, agreement_table: pa.Table, requirements: JudgeRequirements) -> list[JudgeQualification]:
    """One per task. In a domain without shipped ratings, all tasks have the same one."""
    if requirements.own is not None:
        shared = qualify_in_domain(agreement_table, version, requirements.own)
        return [replace(shared, task=task) for task in requirements.tasks]
    return [qualify_judge(agreement_table, version, task, requirements.floor) for task in requirements.tasks]


def qualify_criteria(
    version: str, agreement_table: pa.Table, requirements: JudgeRequirements
) -> list[CriterionQualification]:
    """One per criterion of the rubric. A criterion decides only if it is qualified for every task."""
    found = []
    for criterion in requirements.rubric:
        if requirements.own is not None:
            found.append(qualify_criterion_in_domain(agreement_table, version, requirements.own, criterion))
            continue
        is_modelled = criterion.measured_by == "model"
        tasks = [task for task in requirements.tasks if not (is_modelled and task in requirements.label_tasks)]
        by_task = {
            task: qualify_criterion(agreement_table, version, task, requirements.floor, criterion) for task in tasks
        }
        reasons = {task: one.failure_reason for task, one in by_task.items() if one.failure_reason}
        agreements = [one.agreement for one in by_task.values()]
        known = [value for value in agreements if value is not None]
        why_not = _merge_reasons(reasons, tasks)
        found.append(
            CriterionQualification(
                name=criterion.name,
                agreement=min(known) if known and len(known) == len(agreements) else None,
                failure_reason=why_not,
                basis="" if why_not else next(iter(by_task.values())).basis,
            )
        )
    return found


def _undecided_criteria(rubric: Rubric, criteria: Sequence[CriterionQualification]) -> str:
    """Why the qualified criteria are too few to decide; empty if they are enough.

    Without a criterion that is compared with the reference, a model that says less would win.
    """
    failed = {one.name: one.failure_reason for one in criteria if one.failure_reason}
    needed = [one.name for one in rubric if one.measured_by == "reference"]
    needed = needed or [one.name for one in rubric if one.measured_by != "form"]
    if not needed:
        return "The rubric has no criterion that a judge grades. Add one to judge.rubric."
    if any(name not in failed for name in needed):
        return ""
    return f"It is not qualified for {needed[0].replace('_', ' ')}: {failed[needed[0]]}"


def _labelled_sets(qualifications: Sequence[JudgeQualification]) -> dict[str, str]:
    """Name → fingerprint; the experts' ratings of this installation form one set per task."""
    return {
        f"{name}_{qualification.task}" if name == OWN_EXPERTS else name: found
        for qualification in qualifications
        for name, found in sorted(qualification.labelled_sets.items())
    }


def _merge_reasons(by_task: Mapping[str, str], tasks: Sequence[str]) -> str:
    """One sentence if all tasks fail for the same reason; otherwise one per task."""
    if not tasks:
        return "The recipe has no task to qualify a judge for. Add one to tasks."
    reasons = set(by_task.values())
    if len(reasons) == 1 and len(by_task) == len(set(tasks)):
        return reasons.pop()
    return " ".join(f"{task}: {why}" for task, why in sorted(by_task.items()))
