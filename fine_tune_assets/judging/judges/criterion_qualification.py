"""Which criteria of the rubric a judge may decide about.

docs/decisions/0013-judges.md explains the rules. A judge decides about no criterion unless its overall grade qualifies.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.judging.judges.judge_qualification import (
    MIN_RATINGS,
    OTHER_JUDGE,
    OWN_PEOPLE,
    aligned_agreement,
    enough_own_ratings,
    floor_failure,
    has_few_missing,
    judge_rows,
    lowest_agreement,
    own_failure,
    unmeasured,
)
from fine_tune_assets.judging.judges.labelled_sets import (
    ALL_PLANTED,
    CRITERION_MEASURES,
    FITTED_SUMMARIES,
    PLANTED,
    RATED_SUMMARIES,
)
from fine_tune_assets.recipes.schema import RubricCriterion
from fine_tune_assets.tables.judging_rows import JudgeAgreement

MIN_PLANTED_AUROC, MAX_BLIND_AUROC = 0.65, 0.65
"""Limits over all planted errors: the lower end of the interval with the record, the upper end with an unrelated one."""
MIN_LOWERED_SHARE, MAX_RAISED_SHARE = 0.75, 0.25
"""Limits of the shares of right answers whose grade a planted error lowers (lower end) and raises (upper end). A verdict compares
answers to the same question, so this is what it rests on."""
WEAK_BELOW = 0.8
"""AUROC of a kind of planted error below which a basis names it."""
_HALVES = (RATED_SUMMARIES, FITTED_SUMMARIES)
MEASURED_BY_RULE = "Measured by a rule, not judged."


@dataclass(frozen=True)
class CriterionQualification:
    name: str
    agreement: float | None
    """The lowest rank correlation with people that counts; None if missing."""
    failure_reason: str
    """Empty if the judge may decide about this criterion."""
    basis: str
    """What the qualification rests on; empty if it fails."""


def qualify_criterion(
    table: pa.Table, judge_version: str, task: str, floor: float, criterion: RubricCriterion
) -> CriterionQualification:
    """Qualify a judge for one criterion of a task, in addition to the overall grade, whose check also covers outdated sets.

    - `statements`: it finds planted errors, not without the record, and agrees with clinicians more than by chance.
    - `reference`: its agreement with clinicians reaches the floor.
    - `model`: only this installation's experts can qualify it.

    Each figure counts with the end of its interval that speaks against the judge, on both halves of the shipped set. Ratings of
    this installation's experts must not speak against it, once there are MIN_RATINGS of them.
    """
    if criterion.measured_by == "form":
        return CriterionQualification(criterion.name, None, "", MEASURED_BY_RULE)
    rows = [row for row in judge_rows(table, judge_version) if row.criterion == criterion.name]
    halves = [{row.human_measure: row for row in rows if row.labelled_set == name} for name in _HALVES]
    halves = [half for half in halves if half] or [{}]
    own = enough_own_ratings(rows, task)
    measures = CRITERION_MEASURES.get(criterion.measured_by, ())
    if criterion.measured_by == "statements":
        measures = measures[:1]
        reasons = [
            why
            for half in halves
            for why in (planted_failure(half.get(ALL_PLANTED)), _chance_failure(half.get(measures[0])))
        ]
    elif criterion.measured_by == "reference":
        reasons = [floor_failure(half.get(name), floor, "clinicians") for half in halves for name in measures]
    else:
        reasons = [floor_failure(row, floor, OWN_PEOPLE) for row in own] or [_unrated()]
    why_not = next((why for why in (*reasons, *(own_failure(row, floor) for row in own)) if why), "")
    counted = [*(half[name] for half in halves for name in measures if name in half), *own]
    found = [aligned_agreement(row) for row in counted]
    known = [value for value in found if value is not None]
    return CriterionQualification(
        name=criterion.name,
        agreement=min(known) if known and len(known) == len(found) else None,
        failure_reason=why_not,
        basis="" if why_not else _basis(halves, own),
    )


def _chance_failure(row: JudgeAgreement | None) -> str:
    lowest = None if row is None else lowest_agreement(row)
    if row is None or lowest is None:
        return unmeasured(row, "clinicians")
    if not lowest > 0:
        shown = f"{aligned_agreement(row):.2f} (95 % interval from {lowest:.2f})"
        return f"Its agreement with clinicians is {shown}, not shown to be above chance. {OTHER_JUDGE}"
    return ""


def planted_failure(row: JudgeAgreement | None, step: str = OTHER_JUDGE) -> str:
    """Empty if planted errors are found, and only with the record. Tests that each value is good, because NaN passes no test.

    `step`: what to do if they are not.
    """
    ends = None if row is None else (row.auroc_low, row.lowered_low, row.raised_high, row.blind_auroc_high)
    if row is None or ends is None or not has_few_missing(row) or None in ends:
        return f"Planted errors were not measured. {materialize_hint('judge_agreement')}"
    found, lowered, raised, blind = (math.nan if end is None else end for end in ends)
    if not found >= MIN_PLANTED_AUROC:
        why = (
            f"It misses planted errors (AUROC {row.auroc:.2f}, shown: {found:.2f}; required: {MIN_PLANTED_AUROC:.2f})."
        )
    elif not (lowered >= MIN_LOWERED_SHARE and raised <= MAX_RAISED_SHARE):
        why = (
            f"A planted error lowers the grade of {row.lowered_share:.0%} of the answers (shown: {lowered:.0%}; required: "
            f"{MIN_LOWERED_SHARE:.0%}) and raises up to {raised:.0%} (limit: {MAX_RAISED_SHARE:.0%})."
        )
    elif not blind <= MAX_BLIND_AUROC:
        why = f"It may grade without reading the record (AUROC up to {blind:.2f}; limit: {MAX_BLIND_AUROC:.2f})."
    else:
        return ""
    return f"{why} {step}"


def _unrated() -> str:
    return (
        f"It needs {MIN_RATINGS} ratings of this criterion by {OWN_PEOPLE}. Set judge.spot_checks, and rate answers on "
        f"the desk's page Spot checks. {materialize_hint('judge_agreement')}"
    )


def _basis(halves: Sequence[Mapping[str, JudgeAgreement]], own: Sequence[JudgeAgreement]) -> str:
    """The worse of both halves for every figure."""
    found = [f"Agreement with {OWN_PEOPLE if own else 'clinicians'}."]
    planted = [half[ALL_PLANTED] for half in halves if ALL_PLANTED in half]
    if planted:
        worst = min(row.auroc or 0 for row in planted)
        lowered, raised = min(row.lowered_share or 0 for row in planted), max(row.raised_share or 0 for row in planted)
        blind = max(row.blind_auroc or 0 for row in planted)
        found.append(
            f"Planted errors: AUROC {worst:.2f}, without the record {blind:.2f}; {lowered:.0%} lower the grade, {raised:.0%} "
            "raise it."
        )
    values: dict[str, float] = {}
    for name, row in (item for half in halves for item in half.items()):
        if name.startswith(PLANTED) and row.auroc is not None:
            values[name] = min(row.auroc, values.get(name, 1.0))
    weak = [
        f"{name.removeprefix(PLANTED).replace('_', ' ')} {value:.2f}"
        for name, value in sorted(values.items())
        if value < WEAK_BELOW
    ]
    return " ".join([*found, *([f"It is weak on: {', '.join(weak)}."] if weak else [])])
