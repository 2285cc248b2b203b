"""Measures the agreement of a judge with an installation's own experts over all tasks together.

Answers are ranked within their task, so that an easy task next to a hard one adds no agreement.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.judging.judges.grades import Judge
from fine_tune_assets.judging.judges.human_agreement import EMPTY_ROW, MIN_RATED, finite_score, split_fitted
from fine_tune_assets.judging.judges.labelled_sets import OWN_MEASURE, RatedSet
from fine_tune_assets.judging.judges.rubrics import Rubric
from fine_tune_assets.judging.statistics.association import bootstrap_interval, fit_knots

OWN_POOLED: Final = "own_experts_pooled"
"""The labelled set of the ratings of all tasks."""


def pooled_fingerprint(sets: Sequence[RatedSet]) -> str:
    return combine(sorted(f"{one.task} {one.fingerprint}" for one in sets))


def pooled_rows(judge: Judge, sets: Sequence[RatedSet], rubric: Rubric, progress: Progress) -> Iterator[dict[str, Any]]:
    """Rows of `judge_agreement`: the overall grade, and each criterion that a person rated."""
    rated = [(one.task or "", row) for one in sets for row in split_fitted(judge, one)[0][0].rows]
    grades = judge.grade([row.answered for _, row in rated], progress)
    for name in (None, *(one.name for one in rubric if one.measured_by != "form")):
        found = [
            (task, row.group, finite_score(grade, name), rating)
            for (task, row), grade in zip(rated, grades, strict=True)
            if (rating := row.criterion_rating(name) if name else row.ratings[OWN_MEASURE]) is not None
        ]
        graded = [(task, group, score, rating) for task, group, score, rating in found if score is not None]
        yield {
            **EMPTY_ROW,
            "labelled_set": OWN_POOLED,
            "labelled_set_fingerprint": pooled_fingerprint(sets),
            "judge_version": judge.version,
            "human_measure": OWN_MEASURE,
            "criterion": name,
            "answer_count": len(graded),
            "ungraded_count": len(found) - len(graded),
            "excluded_training_count": sum(len(one.rows) for one in sets) - len(rated),
            **_columns(graded),
        }


def _columns(graded: Sequence[tuple[str, str, float, float]]) -> dict[str, Any]:
    if len(graded) < MIN_RATED:
        return {"missing_reason": f"fewer than {MIN_RATED} rated answers"}
    tasks, scores, ratings = (np.array([one[place] for one in graded]) for place in (0, 2, 3))
    interval = bootstrap_interval(
        lambda rows: rank_correlation_within(tasks[rows], scores[rows], ratings[rows]),
        [group for _, group, _, _ in graded],
    )
    if interval is None:
        return {"missing_reason": "all grades or all ratings are equal"}
    return {
        "spearman": interval.value,
        "spearman_low": interval.low,
        "spearman_high": interval.high,
        "calibration": json.dumps(fit_knots(scores.tolist(), ratings.tolist())),
    }


def rank_correlation_within(tasks: NDArray[np.str_], first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Correlation of the ranks within each task, over all tasks; NaN if one side is constant in every task."""
    one, other = _ranks_within(tasks, first), _ranks_within(tasks, second)
    size = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / size if size > 0 else float("nan")


def _ranks_within(tasks: NDArray[np.str_], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from -0.5 to 0.5 within each task, with averaged ties."""
    found = np.zeros(len(values))
    for task in np.unique(tasks):
        rows = np.flatnonzero(tasks == task)
        _, place, counts = np.unique(values[rows], return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
        found[rows] = (ranks - (len(rows) + 1) / 2) / len(rows)
    return found
