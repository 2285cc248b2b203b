"""How well a judge agrees with people, measured on answers that they rated and on pairs of which they chose one.

Owns which figures there are and what each is of. A figure that can't be measured is absent, with the reason; a judge is never
measured on answers about a text that it was fitted on.
"""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from fine_tune_assets.core.progress import Progress
from fine_tune_assets.judging.judges.grades import Grade, Judge
from fine_tune_assets.judging.judges.labelled_sets import (
    ChosenPair,
    LabelledSet,
    PairSet,
    Rated,
    RatedSet,
    human_grade,
    human_value,
)
from fine_tune_assets.judging.statistics.association import (
    Interval,
    cohen_kappa,
    fit_knots,
    grouped_interval,
    partial_spearman,
    spearman,
)
from fine_tune_assets.tables.judging import JudgeAgreement
from fine_tune_assets.tables.records import table_of

GRADED_TWICE = 50
"""Answers that are graded a second time, at most."""
MAJORITY = "majority"
"""The human measure of pairs: what most people preferred."""
_NONE: dict[str, Any] = {
    field.name: None for field in JudgeAgreement.SCHEMA if field.nullable and field.name not in ("missing", "fitted")
}


@runtime_checkable
class Fitted(Protocol):
    """A judge that learned from rated answers."""

    @property
    def fitted_on(self) -> frozenset[str]:
        """Fingerprints of the texts whose answers it learned from."""


def measure_agreement(
    judge: Judge, labelled_sets: Sequence[LabelledSet], accept_score: float, progress: Progress
) -> pa.Table:
    """`judge_agreement`: a row for each set and human measure.

    `accept_score`: the grade from which on an answer counts as acceptable, for judge and people alike.
    """
    rows: list[dict[str, Any]] = []
    for done, labelled in enumerate(labelled_sets, start=1):
        if isinstance(labelled, RatedSet):
            rows += _rated_rows(judge, labelled, accept_score, progress)
        else:
            rows += _pair_rows(judge, labelled, progress)
        progress(done, len(labelled_sets), "labelled sets")
    return table_of(rows, JudgeAgreement.SCHEMA)


def _rated_rows(judge: Judge, labelled: RatedSet, accept_score: float, progress: Progress) -> Iterator[dict[str, Any]]:
    fitted_on = judge.fitted_on if isinstance(judge, Fitted) else frozenset()
    rows = [row for row in labelled.rows if row.group not in fitted_on]
    grades = judge.grade([row.answered for row in rows], progress)
    kept = [(row, score) for row, grade in zip(rows, grades, strict=True) if (score := _given(grade)) is not None]
    reasons = [grade.reason for grade in grades if _given(grade) is None]
    told = {
        **_NONE,
        **_repeated(judge, kept, progress),
        "labelled_set": labelled.name,
        "task": labelled.task,
        "set_fingerprint": labelled.fingerprint,
        "judge_version": judge.version,
        "fitted": len(labelled.rows) - len(rows),
    }
    for measure in labelled.measures:
        of_measure = [(row, score) for row, score in kept if measure in row.ratings]
        asked = sum(measure in row.ratings for row in rows)
        counts = {"human_measure": measure, "answers": len(of_measure), "missing": asked - len(of_measure)}
        yield {**told, **counts, **_rated_figures(measure, of_measure, accept_score, reasons)}


def _rated_figures(
    measure: str, kept: Sequence[tuple[Rated, float]], accept_score: float, reasons: Sequence[str]
) -> dict[str, Any]:
    if len(kept) < 3:
        return {"why": _most_common(reasons) if reasons else "there are fewer than three rated answers"}
    grades, ratings = np.array([score for _, score in kept]), np.array([row.ratings[measure] for row, _ in kept])
    lengths = np.array([float(len(row.answered.output)) for row, _ in kept])
    interval = grouped_interval(lambda i: spearman(grades[i], ratings[i]), [row.group for row, _ in kept])
    people = np.array([human_grade(measure, float(rating)) for rating in ratings])
    return {
        "spearman": interval.value if interval else None,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "length_partial": _finite(partial_spearman(grades, lengths, ratings)),
        "human_length_correlation": _finite(spearman(people, lengths)),
        "human_threshold": human_value(measure, accept_score),
        "sensitivity": _share(grades[people >= accept_score] >= accept_score),
        "specificity": _share(grades[people < accept_score] < accept_score),
        "calibration": json.dumps(fit_knots(grades.tolist(), people.tolist())),
        "why": None if interval else "grades or ratings are all alike",
    }


def _given(grade: Grade) -> float | None:
    """The grade; None where there is none, or where it is not a number."""
    return grade.score if grade.score is not None and math.isfinite(grade.score) else None


def _repeated(judge: Judge, kept: Sequence[tuple[Rated, float]], progress: Progress) -> dict[str, Any]:
    """Grade some of them once more: how many grades stayed the same, and how far one moved."""
    again = kept[:GRADED_TWICE]
    grades = judge.afresh().grade([row.answered for row, _ in again], progress)
    second = [_given(grade) for grade in grades]
    moved = [abs(one - other) for one, (_, other) in zip(second, again, strict=True) if one is not None]
    if len(moved) < len(again) or not moved:
        return {}
    return {"repeated_equal": sum(by == 0 for by in moved) / len(moved), "repeated_difference": max(moved)}


def _pair_rows(judge: Judge, labelled: PairSet, progress: Progress) -> Iterator[dict[str, Any]]:
    rows = [row for row in labelled.rows if row.majority is not None]
    found = judge.compare([row.pair for row in rows], progress)
    kept = [
        (row, preference) for row, preference in zip(rows, found, strict=True) if preference.probability is not None
    ]
    reasons = [preference.reason for preference in found if preference.probability is None]
    said = [row.majority or 0 for row, _ in kept]
    chosen = [preference.preferred for _, preference in kept]
    turned = [preference.is_consistent for _, preference in kept if preference.is_consistent is not None]
    yield {
        **_NONE,
        "labelled_set": labelled.name,
        "human_measure": MAJORITY,
        "answers": len(kept),
        "judge_version": judge.version,
        "set_fingerprint": labelled.fingerprint,
        "missing": len(rows) - len(kept),
        "fitted": 0,
        "consistent": sum(turned) / len(turned) if turned else None,
        "people_prefer_longer": _prefers_longer([row for row, _ in kept], said),
        "judge_prefers_longer": _prefers_longer([row for row, _ in kept], chosen),
        **_pair_figures(np.array(said), np.array(chosen), [row.group for row, _ in kept]),
        "why": None if kept else _most_common(reasons) if reasons else "there are no pairs with a majority",
    }


def _pair_figures(said: Any, chosen: Any, groups: Sequence[str]) -> dict[str, Any]:
    accuracy = grouped_interval(lambda i: float((said[i] == chosen[i]).mean()), groups)
    kappa = grouped_interval(lambda i: cohen_kappa(said[i], chosen[i]), groups)
    return {**_named("accuracy", accuracy), **_named("kappa", kappa)}


def _named(name: str, interval: Interval | None) -> dict[str, Any]:
    if interval is None:
        return {}
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _prefers_longer(rows: Sequence[ChosenPair], labels: Sequence[int]) -> float | None:
    """Share of the pairs with a preferred answer in which it is the longer one."""
    lengths = [(len(row.pair.output_1), len(row.pair.output_2)) for row in rows]
    told = [
        (label == 1) == (first > second)
        for (first, second), label in zip(lengths, labels, strict=True)
        if label and first != second
    ]
    return sum(told) / len(told) if told else None


def _share(accepted: Any) -> float | None:
    return float(accepted.mean()) if len(accepted) else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _most_common(reasons: Sequence[str]) -> str:
    return max(sorted(set(reasons)), key=reasons.count)
