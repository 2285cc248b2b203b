"""Judge qualification: whether a judge's measured agreement with people lets it decide about a task.

A qualification holds for one judge version, one task and one floor, and is computed from `judge_agreement` on every use, never
stored. Another model, prompt, rubric, labelled set or floor therefore requires a new measurement. An unqualified judge informs
but never promotes. A qualified judge has a calibration, which maps its grades to the human scale for display next to its own
grades (docs/decisions/0013-judges.md). criterion_qualification.py adds about which criteria.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.judging.judges.labelled_sets import (
    DECIDING_MEASURE,
    FITTED_SUMMARIES,
    MEASURES,
    OWN_EXPERTS,
    OWN_MEASURE,
    RATED_SUMMARIES,
)
from fine_tune_assets.judging.statistics.association import Knots, apply_knots
from fine_tune_assets.tables.judging_rows import JudgeAgreement
from fine_tune_assets.tables.record_classes import iter_records

MIN_RATINGS = 20
"""Minimum number of expert ratings per task: with 20, a true correlation of 0.6 has a 95 % interval from 0.2 to 0.8. So few can
show that a judge fails, but not that it reaches a floor."""
MAX_MISSING_FRACTION = 0.05
"""Largest share of labelled answers without a grade; a judge could skip the hard ones."""
OWN_PEOPLE = "this installation's experts"
OTHER_JUDGE = "Name another judge in judge.kind and judge.model, or train a verifier with `fine-tune verifier train`."
"""The step after a judge was measured and failed."""


@dataclass(frozen=True)
class HumanCalibration:
    """Maps a judge's grades to the scale of the people it was measured against."""

    labelled_set: str
    fingerprint: str
    knots: Knots

    def calibrate(self, score: float) -> float:
        """The human grade from 1 to 10."""
        return round(float(apply_knots(np.array([score]), self.knots)[0]), 2)


@dataclass(frozen=True)
class CalibratedMeans:
    """Mean calibrated grades of the examples that are graded for both models."""

    candidate: float
    incumbent: float
    labelled_sets: tuple[str, ...]
    """The labelled sets that define the scale."""


def calibrated_means(
    graded: Sequence[tuple[str | None, float, float]], calibrations: Mapping[str, HumanCalibration]
) -> CalibratedMeans | None:
    """Means over `graded`, as (task, candidate's grade, incumbent's grade). None if a task has no calibration."""
    used = [calibrations.get(task or "") for task, _, _ in graded]
    complete = [scale for scale in used if scale is not None]
    if not graded or len(complete) < len(graded):
        return None
    candidate = [scale.calibrate(new) for scale, (_, new, _) in zip(complete, graded, strict=True)]
    incumbent = [scale.calibrate(old) for scale, (_, _, old) in zip(complete, graded, strict=True)]
    names = tuple(sorted({scale.labelled_set for scale in complete}))
    return CalibratedMeans(round(float(np.mean(candidate)), 4), round(float(np.mean(incumbent)), 4), names)


@dataclass(frozen=True)
class JudgeQualification:
    task: str
    agreement: float | None
    """The lowest rank correlation with people that counts for this task; None if missing."""
    labelled_sets: Mapping[str, str]
    """Name → fingerprint of the labelled sets behind it."""
    failure_reason: str
    """Empty if the judge is qualified."""
    calibration: HumanCalibration | None = None
    """From this installation's expert ratings if there are enough, else from the shipped ones. None if not qualified."""


def qualify_judge(table: pa.Table, judge_version: str, task: str, floor: float) -> JudgeQualification:
    """Qualify a judge for a task, from the table `judge_agreement`.

    The lower end of the agreement's interval must reach the floor on each half of the shipped ratings. If this installation's
    experts gave at least MIN_RATINGS, the agreement with them must reach the floor too, and its interval exclude chance.
    """
    rows = [row for row in judge_rows(table, judge_version) if row.criterion is None]
    deciding = (RATED_SUMMARIES, DECIDING_MEASURE)
    shipped = [row for row in rows if (row.labelled_set, row.human_measure) == deciding]
    fitted = [row for row in rows if (row.labelled_set, row.human_measure) == (FITTED_SUMMARIES, DECIDING_MEASURE)]
    own = enough_own_ratings(rows, task)
    counted = [*fitted, *shipped, *own]
    found = [agreement for row in counted if (agreement := usable_agreement(row)) is not None]
    why_not = _failure_reason(shipped, fitted, own, floor)
    return JudgeQualification(
        task=task,
        agreement=min(found) if len(found) == len(counted) and found else None,
        labelled_sets={row.labelled_set: row.labelled_set_fingerprint or "" for row in (*shipped, *own)},
        failure_reason=why_not,
        calibration=None if why_not else read_calibration(counted[-1]),
    )


def judge_rows(table: pa.Table, judge_version: str) -> list[JudgeAgreement]:
    return [row for row in iter_records(JudgeAgreement, table) if row.judge_version == judge_version]


def enough_own_ratings(rows: Sequence[JudgeAgreement], task: str) -> list[JudgeAgreement]:
    of_task = [
        row for row in rows if (row.labelled_set, row.task, row.human_measure) == (OWN_EXPERTS, task, OWN_MEASURE)
    ]
    return [row for row in of_task if row.answer_count + (row.ungraded_count or 0) >= MIN_RATINGS]


def read_calibration(row: JudgeAgreement) -> HumanCalibration | None:
    knots = json.loads(row.calibration or "[]")
    if not knots:
        return None
    return HumanCalibration(
        row.labelled_set, row.labelled_set_fingerprint or "", tuple((raw, human) for raw, human in knots)
    )


def disqualification_reason(qualification: JudgeQualification, labelled_sets: Mapping[str, str]) -> str:
    """Why a judge may not decide; empty while its qualification is valid.

    `labelled_sets`: name → current fingerprint. It contains OWN_EXPERTS if there are enough expert ratings, and the qualification
    must then include them.
    """
    if qualification.failure_reason:
        return qualification.failure_reason
    changed = sorted(name for name, found in qualification.labelled_sets.items() if labelled_sets.get(name) != found)
    if changed:
        return f"The labelled sets {', '.join(changed)} changed. {materialize_hint('judge_agreement')}"
    if OWN_EXPERTS in labelled_sets and OWN_EXPERTS not in qualification.labelled_sets:
        return "This installation's experts rated answers, and the judge was not measured on them. " + materialize_hint(
            "judge_agreement"
        )
    return ""


def usable_agreement(row: JudgeAgreement) -> float | None:
    """A row's rank correlation; None if it is missing, not a number, or covers too few of the answers."""
    value = row.spearman
    return float(value) if value is not None and math.isfinite(value) and has_few_missing(row) else None


def has_few_missing(row: JudgeAgreement) -> bool:
    missing = row.ungraded_count or 0
    return missing <= MAX_MISSING_FRACTION * (row.answer_count + missing)


def aligned_agreement(row: JudgeAgreement) -> float | None:
    """The rank correlation, positive if the judge grades like people also where their measure counts errors."""
    return _aligned(row, usable_agreement(row))


def lowest_agreement(row: JudgeAgreement) -> float | None:
    """The end of its interval that speaks most against the judge; None if it is missing."""
    worst, best = MEASURES[row.human_measure]
    end = row.spearman_low if best > worst else row.spearman_high
    return None if usable_agreement(row) is None or end is None or not math.isfinite(end) else _aligned(row, end)


def _aligned(row: JudgeAgreement, value: float | None) -> float | None:
    worst, best = MEASURES[row.human_measure]
    return value if value is None or best > worst else -value


def floor_failure(row: JudgeAgreement | None, floor: float, who: str) -> str:
    """Why a row does not show that the agreement reaches the floor; empty if it does.

    Tests that each value is good, not that it is bad, because NaN is below no floor.
    """
    lowest = None if row is None else lowest_agreement(row)
    if row is None or lowest is None:
        return unmeasured(row, who)
    if not lowest >= floor:
        return (
            f"Its agreement with {who} is {aligned_agreement(row):.2f}, of which {lowest:.2f} is shown (lower end of the 95 % "
            f"interval, {row.answer_count} answers), below the floor {floor:.2f}. {OTHER_JUDGE}"
        )
    return ""


def own_failure(row: JudgeAgreement, floor: float) -> str:
    """Why the ratings of this installation's experts speak against the judge; empty if they do not."""
    agreement, lowest = aligned_agreement(row), lowest_agreement(row)
    if agreement is None or lowest is None:
        return unmeasured(row, OWN_PEOPLE)
    if not (agreement >= floor and lowest > 0):
        return (
            f"Its agreement with {OWN_PEOPLE} is {agreement:.2f} (95 % interval from {lowest:.2f}); required: {floor:.2f}, "
            f"and an interval above 0. {OTHER_JUDGE}"
        )
    return ""


def unmeasured(row: JudgeAgreement | None, who: str) -> str:
    why = "it was not measured" if row is None else row.missing_reason or "too many answers without a grade"
    return f"Its agreement with {who} is missing: {why}. {materialize_hint('judge_agreement')}"


def _failure_reason(
    shipped: list[JudgeAgreement], fitted: list[JudgeAgreement], own: list[JudgeAgreement], floor: float
) -> str:
    """Empty if qualified."""
    if len(shipped) != 1:
        return f"Its agreement with experts was not measured. {materialize_hint('judge_agreement')}"
    reasons = [*(floor_failure(row, floor, "clinicians") for row in (*shipped, *fitted))]
    reasons += [own_failure(row, floor) for row in own]
    return next((why for why in reasons if why), "")
