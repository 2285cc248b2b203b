"""The grades of each criterion for candidate and incumbent, and the grade that decides: the mean of the qualified criteria."""

from collections.abc import Container
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from fine_tune_assets.judging.judges.criterion_qualification import CriterionQualification
from fine_tune_assets.judging.judges.rubrics import Rubric
from fine_tune_assets.judging.verdicts.judge_status import JudgeRequirements, JudgeStatus, qualify_criteria
from fine_tune_assets.judging.verdicts.paired_grades import (
    GradeOf,
    criterion_score,
    grade_means,
    graded_pairs,
    overall_score,
    rubric_score,
)
from fine_tune_assets.judging.verdicts.verdict_metrics import round_finite


@dataclass(frozen=True)
class CriterionEvidence:
    """Mean grades of one criterion."""

    name: str
    candidate: float | None
    incumbent: float | None
    difference: float | None
    low: float | None
    high: float | None
    """Ends of the 95 % interval of the difference, resampled by subject."""
    is_qualified: bool
    """Whether it may decide."""
    reason: str
    """What its qualification rests on, or why it may not decide."""
    agreement: float | None
    """Rank correlation with people; None if missing."""


def deciding_grade(status: JudgeStatus, rubric: Rubric, qualified: Container[str]) -> GradeOf:
    """The grade of an answer that decides. An unqualified judge's overall grade can only refuse.

    A qualified criterion that the judge left out of the answers counts, and makes their grades missing.
    """
    if not status.is_qualified:
        return overall_score
    counted = [
        one
        for one in rubric
        if one.name in qualified or (one.measured_by != "form" and one.name not in status.ungraded_criteria)
    ]
    return partial(rubric_score, rubric=tuple(counted))


def gather_criteria(
    scores: pa.Table, agreement_table: pa.Table, incumbent: str, judge: JudgeRequirements, status: JudgeStatus
) -> tuple[CriterionEvidence, ...]:
    return tuple(
        _criterion_evidence(scores, incumbent, qualified, status)
        for qualified in qualify_criteria(status.version, agreement_table, judge)
    )


def _criterion_evidence(
    scores: pa.Table, incumbent: str, qualified: CriterionQualification, status: JudgeStatus
) -> CriterionEvidence:
    grades = grade_means(graded_pairs(scores, incumbent, partial(criterion_score, name=qualified.name)))
    why_not = (
        "The judge does not grade this criterion."
        if grades is None
        else qualified.failure_reason or ("" if status.is_qualified else status.failure_reason)
    )
    return CriterionEvidence(
        name=qualified.name,
        candidate=round_finite(grades.candidate) if grades else None,
        incumbent=round_finite(grades.incumbent) if grades else None,
        difference=round_finite(grades.means.value) if grades else None,
        low=round_finite(grades.means.low) if grades else None,
        high=round_finite(grades.means.high) if grades else None,
        is_qualified=not why_not,
        reason=why_not or qualified.basis,
        agreement=round_finite(qualified.agreement),
    )
