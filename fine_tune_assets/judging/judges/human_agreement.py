"""Measures the agreement of a judge with people, on answers that they rated.

The overall grade and each criterion's grade are compared with the ratings of the same quality.
A value that can't be measured is absent, with a reason. A judge is never measured on answers about a text that it was trained on.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from fine_tune_assets.core.progress import Progress
from fine_tune_assets.judging.judges.grades import Grade, Judge
from fine_tune_assets.judging.judges.labelled_sets import (
    CRITERION_MEASURES,
    FITTED_SUMMARIES,
    OVERALL,
    OWN_MEASURE,
    RATED_SUMMARIES,
    RatedAnswer,
    RatedSet,
    human_grade,
    human_rating,
)
from fine_tune_assets.judging.judges.rubrics import Rubric
from fine_tune_assets.judging.statistics.association import (
    Interval,
    bootstrap_interval,
    fit_knots,
    partial_spearman,
    spearman,
)
from fine_tune_assets.tables.judging_rows import JudgeAgreement
from fine_tune_assets.tables.record_classes import table_from_rows

MAX_REPEATED_GRADES = 50
"""Answers that are graded a second time."""
BETWEEN_PEOPLE = "between_people"
"""The measure of people's agreement with each other: the ceiling for a judge."""
MIN_RATED = 3
_ALL_EQUAL = "all grades or all ratings are equal"
EMPTY_ROW: dict[str, Any] = {
    field.name: None
    for field in JudgeAgreement.SCHEMA
    if field.nullable and field.name not in ("ungraded_count", "excluded_training_count")
}


@runtime_checkable
class FittedJudge(Protocol):
    """A judge that was trained on rated answers."""

    @property
    def training_groups(self) -> frozenset[str]:
        """Fingerprints of the texts whose answers it was trained on."""


def measure_agreement(
    judge: Judge,
    labelled_sets: Sequence[RatedSet],
    accept_score: float,
    progress: Progress,
    rubric: Rubric = (),
) -> pa.Table:
    """Build `judge_agreement`: one row per set and human measure, for the overall grade and for each criterion of `rubric`.

    `accept_score`: the lowest grade of an acceptable answer, for judge and people alike.
    """
    rows: list[dict[str, Any]] = []
    for done, labelled in enumerate(labelled_sets, start=1):
        rows += _rated_rows(judge, labelled, accept_score, rubric, progress)
        progress(done, len(labelled_sets), "labelled sets")
    return table_from_rows(rows, JudgeAgreement.SCHEMA)


def _rated_rows(
    judge: Judge, labelled: RatedSet, accept_score: float, rubric: Rubric, progress: Progress
) -> Iterator[dict[str, Any]]:
    for part, excluded in split_fitted(judge, labelled):
        yield from _part_rows(judge, part, excluded, accept_score, rubric, progress)


def _part_rows(
    judge: Judge, labelled: RatedSet, excluded: int, accept_score: float, rubric: Rubric, progress: Progress
) -> Iterator[dict[str, Any]]:
    rows = labelled.rows
    grades = judge.grade([row.answered for row in rows], progress)
    graded = [row for row, grade in zip(rows, grades, strict=True) if finite_score(grade) is not None]
    scores = [score for grade in grades if (score := finite_score(grade)) is not None]
    common = {
        **EMPTY_ROW,
        "labelled_set": labelled.name,
        "task": labelled.task,
        "labelled_set_fingerprint": labelled.fingerprint,
        "judge_version": judge.version,
        "excluded_training_count": excluded,
    }
    repeated = _repeatability(judge, list(zip(graded, scores, strict=True)), progress)
    for measure in labelled.measures:
        ratings = [row.ratings.get(measure) for row in rows]
        yield {**common, **repeated, **_agreement(measure, rows, grades, ratings, accept_score, None)}
    yield {**common, **_agreement_between_people(rows, None)}
    for criterion in rubric:
        wanted = CRITERION_MEASURES.get(criterion.measured_by, ())
        for measure in (name for name in labelled.measures if name in wanted):
            ratings = [row.ratings.get(measure) for row in rows]
            yield {**common, **_agreement(measure, rows, grades, ratings, accept_score, criterion.name)}
        ratings = [row.criterion_rating(criterion.name) for row in rows]
        if any(rating is not None for rating in ratings):
            yield {**common, **_agreement(OWN_MEASURE, rows, grades, ratings, accept_score, criterion.name)}
            yield {**common, **_agreement_between_people(rows, criterion.name)}


def split_fitted(judge: Judge, labelled: RatedSet) -> list[tuple[RatedSet, int]]:
    """The set without the texts on which the judge was fitted, and the number of answers left out.

    Of the rated summaries, those texts follow as a set of their own, so that both halves are known.
    """
    known = judge.training_groups if isinstance(judge, FittedJudge) else frozenset()
    fitted = tuple(row for row in labelled.rows if row.group in known)
    unseen = replace(labelled, rows=tuple(row for row in labelled.rows if row.group not in known))
    parts = [(unseen, len(fitted))]
    if fitted and labelled.name == RATED_SUMMARIES:
        parts.append((replace(labelled, name=FITTED_SUMMARIES, rows=fitted), 0))
    return parts


def _agreement(
    measure: str,
    rows: Sequence[RatedAnswer],
    grades: Sequence[Grade],
    ratings: Sequence[float | None],
    accept_score: float,
    criterion: str | None,
) -> dict[str, Any]:
    """The columns of one measure."""
    rated = [
        (row, grade, rating) for row, grade, rating in zip(rows, grades, ratings, strict=True) if rating is not None
    ]
    measured = [
        (row, score, rating) for row, grade, rating in rated if (score := finite_score(grade, criterion)) is not None
    ]
    return {
        "human_measure": measure,
        "criterion": criterion,
        "answer_count": len(measured),
        "ungraded_count": len(rated) - len(measured),
        **_rated_metrics(
            measure, measured, accept_score, missing_grade_reason([grade for _, grade, _ in rated], criterion)
        ),
    }


def _agreement_between_people(rows: Sequence[RatedAnswer], criterion: str | None) -> dict[str, Any]:
    """Rank correlation of each person's rating with the mean of the others' of the same answer."""
    rated = [(row.group, found) for row in rows if len(found := row.given.get(criterion or OVERALL, ())) > 1]
    singles = [(group, one, (sum(found) - one) / (len(found) - 1)) for group, found in rated for one in found]
    row = {
        "human_measure": BETWEEN_PEOPLE,
        "criterion": criterion,
        "answer_count": len(rated),
        "ungraded_count": 0,
    }
    if len(rated) < MIN_RATED:
        return {**row, "missing_reason": f"fewer than {MIN_RATED} answers have ratings of several people"}
    own, others = (np.array([single[place] for single in singles]) for place in (1, 2))
    interval = bootstrap_interval(lambda i: spearman(own[i], others[i]), [group for group, _, _ in singles])
    return {**row, **_interval_columns("spearman", interval), "missing_reason": None if interval else _ALL_EQUAL}


def _rated_metrics(
    measure: str, graded: Sequence[tuple[RatedAnswer, float, float]], accept_score: float, why_missing: str
) -> dict[str, Any]:
    if len(graded) < MIN_RATED:
        return {"missing_reason": why_missing or f"fewer than {MIN_RATED} rated answers"}
    grades, ratings = np.array([score for _, score, _ in graded]), np.array([rating for _, _, rating in graded])
    lengths = np.array([float(len(row.answered.output)) for row, _, _ in graded])
    interval = bootstrap_interval(lambda i: spearman(grades[i], ratings[i]), [row.group for row, _, _ in graded])
    people = np.array([human_grade(measure, float(rating)) for rating in ratings])
    return {
        **_interval_columns("spearman", interval),
        "length_partial_correlation": _finite(partial_spearman(grades, lengths, ratings)),
        "human_length_correlation": _finite(spearman(people, lengths)),
        "human_threshold": human_rating(measure, accept_score),
        "sensitivity": _accepted_share(grades[people >= accept_score] >= accept_score),
        "specificity": _accepted_share(grades[people < accept_score] < accept_score),
        "calibration": json.dumps(fit_knots(grades.tolist(), people.tolist())),
        "missing_reason": None if interval else _ALL_EQUAL,
    }


def finite_score(grade: Grade, criterion: str | None = None) -> float | None:
    """The overall grade, or that of a criterion; None if it is missing or not a number."""
    found = grade.criteria.get(criterion) if criterion else None
    score = (found.score if found else None) if criterion else grade.score
    return score if score is not None and math.isfinite(score) else None


def missing_grade_reason(grades: Sequence[Grade], criterion: str | None = None) -> str:
    """The most common reason of the missing grades; empty if none is missing."""
    missing = [grade for grade in grades if finite_score(grade, criterion) is None]
    reasons = [
        grade.reason if finite_score(grade) is None else f"the judge does not grade {criterion}" for grade in missing
    ]
    return _most_common_reason(reasons) if reasons else ""


def _repeatability(judge: Judge, graded: Sequence[tuple[RatedAnswer, float]], progress: Progress) -> dict[str, Any]:
    """Grade some answers a second time: the share of equal grades, and the largest difference."""
    first = graded[:MAX_REPEATED_GRADES]
    grades = judge.for_repeat().grade([row.answered for row, _ in first], progress)
    second = [finite_score(grade) for grade in grades]
    differences = [abs(one - other) for one, (_, other) in zip(second, first, strict=True) if one is not None]
    if len(differences) < len(first) or not differences:
        return {}
    return {
        "repeat_agreement": sum(difference == 0 for difference in differences) / len(differences),
        "repeat_max_difference": max(differences),
    }


def _interval_columns(name: str, interval: Interval | None) -> dict[str, Any]:
    if interval is None:
        return {}
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _accepted_share(accepted: Any) -> float | None:
    return float(accepted.mean()) if len(accepted) else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _most_common_reason(reasons: Sequence[str]) -> str:
    return max(sorted(set(reasons)), key=reasons.count)
