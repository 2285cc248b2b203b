"""Which criteria of the rubric a judge may decide about, and whether its choice between two answers counts.

docs/decisions/0065 explains the rules. A judge decides about no criterion unless its overall grade qualifies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.judging.judges.judge_qualification import (
    MIN_RATINGS,
    OTHER_JUDGE,
    OWN_PEOPLE,
    enough_own_ratings,
    has_few_missing,
    judge_rows,
    usable_agreement,
)
from fine_tune_assets.judging.judges.labelled_sets import (
    ALL_PLANTED,
    CRITERION_MEASURES,
    MAJORITY,
    MEASURES,
    PLANTED,
    RATED_SUMMARIES,
)
from fine_tune_assets.recipes.schema import RubricCriterion
from fine_tune_assets.tables.judging_rows import JudgeAgreement

MIN_PLANTED_AUROC, MAX_BLIND_AUROC = 0.8, 0.6
"""Limits over all planted errors, with the record and with an unrelated one."""
MIN_POSITION_CONSISTENCY = 0.7
"""Smallest share of labelled pairs in which both orders have the same winner."""
MAX_LENGTH_EXCESS = 0.1
"""Largest excess of the judge's share of longer winners over people's."""
MEASURED_BY_RULE = "Measured by a rule, not judged."
PREFERENCE = "preference"
"""Stands for the choice between two answers in the list of criteria."""


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

    Ratings of this installation's experts must reach the floor for every kind, once there are MIN_RATINGS of them.
    """
    if criterion.measured_by == "form":
        return CriterionQualification(criterion.name, None, "", MEASURED_BY_RULE)
    rows = [row for row in judge_rows(table, judge_version) if row.criterion == criterion.name]
    shipped = {row.human_measure: row for row in rows if row.labelled_set == RATED_SUMMARIES}
    own = enough_own_ratings(rows, task)
    measures = CRITERION_MEASURES.get(criterion.measured_by, ())
    if criterion.measured_by == "statements":
        measures = measures[:1]
        why_not = _planted_failure(shipped.get(ALL_PLANTED)) or _chance_failure(shipped.get(measures[0]))
    elif criterion.measured_by == "reference":
        why_not = next(
            (why for name in measures if (why := _floor_failure(shipped.get(name), floor, "clinicians"))), ""
        )
    else:
        why_not = "" if own else _unrated()
    why_not = why_not or next((why for row in own if (why := _floor_failure(row, floor, OWN_PEOPLE))), "")
    counted = [*(shipped[name] for name in measures if name in shipped), *own]
    found = [_aligned_agreement(row) for row in counted]
    known = [value for value in found if value is not None]
    return CriterionQualification(
        name=criterion.name,
        agreement=min(known) if known and len(known) == len(found) else None,
        failure_reason=why_not,
        basis="" if why_not else _basis(shipped, own),
    )


def qualify_preference(table: pa.Table, judge_version: str) -> CriterionQualification:
    """Qualify a judge's choice between two answers, on every labelled set of pairs."""
    rows = [row for row in judge_rows(table, judge_version) if row.human_measure == MAJORITY]
    why_not = next((why for row in rows if (why := _pair_failure(row))), "")
    if not rows:
        why_not = f"Its choices were not compared with people's. {materialize_hint('judge_agreement')}"
    basis = f"It agrees with people's choices on {len(rows)} sets of pairs, in both orders."
    return CriterionQualification(PREFERENCE, None, why_not, "" if why_not else basis)


def _aligned_agreement(row: JudgeAgreement) -> float | None:
    """The rank correlation, positive if the judge grades like people also where their measure counts errors."""
    value = usable_agreement(row)
    worst, best = MEASURES[row.human_measure]
    return value if value is None or best > worst else -value


def _floor_failure(row: JudgeAgreement | None, floor: float, who: str) -> str:
    agreement = None if row is None else _aligned_agreement(row)
    if agreement is None:
        return _unmeasured(row, who)
    if not agreement >= floor:
        return f"Its agreement with {who} is {agreement:.2f}, below the floor {floor:.2f}. {OTHER_JUDGE}"
    return ""


def _chance_failure(row: JudgeAgreement | None) -> str:
    agreement = None if row is None else _aligned_agreement(row)
    if agreement is None:
        return _unmeasured(row, "clinicians")
    if not agreement > 0:
        return f"Its agreement with clinicians is {agreement:.2f}, not above chance. {OTHER_JUDGE}"
    return ""


def _planted_failure(row: JudgeAgreement | None) -> str:
    """Empty if planted errors are found, and only with the record. Tests that each value is good, because NaN passes no test."""
    if row is None or not has_few_missing(row) or row.auroc is None or row.blind_auroc is None:
        return f"Planted errors were not measured. {materialize_hint('judge_agreement')}"
    if not row.auroc >= MIN_PLANTED_AUROC:
        return f"It misses planted errors (AUROC {row.auroc:.2f}; required: {MIN_PLANTED_AUROC:.2f}). {OTHER_JUDGE}"
    if not row.blind_auroc <= MAX_BLIND_AUROC:
        why = f"It grades without reading the record (AUROC {row.blind_auroc:.2f}; limit: {MAX_BLIND_AUROC:.2f})."
        return f"{why} {OTHER_JUDGE}"
    return ""


def _pair_failure(row: JudgeAgreement) -> str:
    if row.accuracy_low is None or row.position_consistency is None or not has_few_missing(row):
        return (
            f"Its choices on {row.labelled_set} could not be measured: {row.missing_reason or 'too many are missing'}."
        )
    if not row.accuracy_low > 0.5:
        return f"Its choices on {row.labelled_set} agree with people's no more than by chance."
    if not row.position_consistency >= MIN_POSITION_CONSISTENCY:
        return f"On {row.labelled_set}, its choices depend on the order of the answers."
    excess = (row.judge_length_preference or 0.0) - (row.human_length_preference or 0.0)
    if not excess <= MAX_LENGTH_EXCESS:
        return f"On {row.labelled_set}, it prefers longer answers more often than people do."
    return ""


def _unmeasured(row: JudgeAgreement | None, who: str) -> str:
    why = "it was not measured" if row is None else row.missing_reason or "too many answers without a grade"
    return f"Its agreement with {who} is missing: {why}. {materialize_hint('judge_agreement')}"


def _unrated() -> str:
    return (
        f"It needs {MIN_RATINGS} ratings of this criterion by {OWN_PEOPLE}. Set judge.spot_checks, and rate answers on "
        f"the desk's page Spot checks. {materialize_hint('judge_agreement')}"
    )


def _basis(shipped: Mapping[str, JudgeAgreement], own: Sequence[JudgeAgreement]) -> str:
    found = [f"Agreement with {OWN_PEOPLE if own else 'clinicians'}."]
    planted = shipped.get(ALL_PLANTED)
    if planted is not None and planted.auroc is not None and planted.blind_auroc is not None:
        found.append(f"Planted errors: AUROC {planted.auroc:.2f}, without the record {planted.blind_auroc:.2f}.")
    weak = [
        f"{name.removeprefix(PLANTED).replace('_', ' ')} {row.auroc:.2f}"
        for name, row in sorted(shipped.items())
        if name.startswith(PLANTED) and row.auroc is not None and row.auroc < MIN_PLANTED_AUROC
    ]
    return " ".join([*found, *([f"It is weak on: {', '.join(weak)}."] if weak else [])])
