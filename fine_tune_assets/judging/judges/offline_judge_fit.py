"""Fits the judge that needs no second model on half of the human-rated dialogues: `make fit-judge`.

Owns which half, how weights are found and how features are chosen: by cross-validation within that half, always by whole
dialogues. The other half is never looked at here. Does not know texts.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.judging.judges.features import FEATURES, FEATURES_VERSION, measure_answers
from fine_tune_assets.judging.judges.grades import HIGHEST, LOWEST
from fine_tune_assets.judging.judges.labelled_sets import Rated, RatedSet, human_grade, read_rated_summaries
from fine_tune_assets.judging.judges.offline_judge import MODEL_FILE
from fine_tune_assets.judging.statistics.association import calibrated, fit_knots, spearman, with_ends

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

FEATURE_SETS: Mapping[str, tuple[str, ...]] = {
    "content recall": ("content recall",),
    "words": FEATURES,
}
PENALTIES = (10.0, 30.0, 100.0)
"""Of the ridge, on standardised features."""
FOLDS = 5
SEED = 20260101
OVERALL = ("FactualF1", "OmissionRate")
"""The grade is fitted on the mean of both: each alone is a noisy reading of the same."""
CRITERIA: Mapping[str, tuple[str, ...]] = {"completeness": ("FactualRecall", "OmissionRate")}
"""Not factual accuracy: no combination of the features agrees with FactualPrecision on left-out dialogues (-.05 at best)."""


@dataclass(frozen=True)
class Measured:
    """Rated answers in figures."""

    features: Floats
    """(answers, FEATURES)"""
    ratings: Mapping[str, Floats]
    groups: NDArray[np.str_]

    def rows(self, index: Any) -> "Measured":
        ratings = {name: values[index] for name, values in self.ratings.items()}
        return Measured(self.features[index], ratings, self.groups[index])

    def target(self, measures: Sequence[str]) -> Floats:
        """The people's grade, 1 to 10: the mean of some measures."""
        grades = [[human_grade(name, float(value)) for value in self.ratings[name]] for name in measures]
        return np.asarray(np.mean(grades, axis=0))


@dataclass(frozen=True)
class Choice:
    feature_set: str
    penalty: float


def is_fitted_on(row: Rated) -> bool:
    """Dialogues with an even number; the others measure the judge."""
    return int(row.answered.id) % 2 == 0


def measured(rows: Sequence[Rated]) -> Measured:
    features = measure_answers([row.answered for row in rows])
    ratings = {name: np.array([row.ratings[name] for row in rows]) for name in rows[0].ratings}
    return Measured(features, ratings, np.array([row.group for row in rows]))


def fit_weights(data: Measured, target: Floats, choice: Choice) -> tuple[Floats, float]:
    """Ridge regression with no weight below 0: (weights of FEATURES, intercept)."""
    from scipy.optimize import nnls

    used = np.isin(FEATURES, FEATURE_SETS[choice.feature_set])
    spread = np.where(data.features.std(axis=0) > 0, data.features.std(axis=0), 1.0)
    scaled = ((data.features - data.features.mean(axis=0)) / spread)[:, used]
    penalty = np.sqrt(choice.penalty) * np.eye(scaled.shape[1])
    right = np.concatenate([target - target.mean(), np.zeros(scaled.shape[1])])
    found, _ = nnls(np.vstack([scaled, penalty]), right)
    weights = np.zeros(len(FEATURES))
    weights[used] = found / spread[used]
    return weights, float(target.mean() - data.features.mean(axis=0) @ weights)


def out_of_fold(data: Measured, target: Floats, choice: Choice) -> Floats:
    """Weighted sums of each dialogue's answers by weights that were fitted on other dialogues."""
    found = np.zeros(len(target))
    for inside, outside in folds(data.groups):
        weights, intercept = fit_weights(data.rows(inside), target[inside], choice)
        found[outside] = data.features[outside] @ weights + intercept
    return found


def folds(groups: NDArray[np.str_]) -> list[tuple[Rows, Rows]]:
    """(rows to fit on, rows left out), by whole dialogues."""
    names = np.random.default_rng(SEED).permutation(np.unique(groups))
    parts = [np.isin(groups, part) for part in np.array_split(names, FOLDS)]
    return [(np.flatnonzero(~part), np.flatnonzero(part)) for part in parts]


def agreement(raw: Floats, data: Measured) -> float:
    """What a choice is chosen by: mean rank correlation with what the gate's target is stated in."""
    return float(np.mean([spearman(raw, data.target([name])) for name in OVERALL]))


def choose(data: Measured, measures: Sequence[str] = OVERALL) -> Choice:
    """The features and penalty that agree best on dialogues that were left out."""
    target = data.target(measures)
    choices = [Choice(*pair) for pair in product(FEATURE_SETS, PENALTIES)]
    return max(choices, key=lambda choice: spearman(out_of_fold(data, target, choice), target))


def fit_scale(data: Measured, measures: Sequence[str], choice: Choice) -> dict[str, Any]:
    """Weights, and the map to people's scale from answers that those weights had not seen."""
    target = data.target(measures)
    weights, intercept = fit_weights(data, target, choice)
    ends = (intercept, LOWEST), (intercept + float(weights.sum()), HIGHEST)
    knots = with_ends(fit_knots(out_of_fold(data, target, choice).tolist(), target.tolist()), *ends)
    return {
        "weights": {
            name: round(float(weight), 6) for name, weight in zip(FEATURES, weights, strict=True) if weight > 0
        },
        "intercept": round(intercept, 6),
        "knots": [[round(raw, 6), round(grade, 6)] for raw, grade in knots],
    }


def fit_slope(data: Measured, choice: Choice, knots: Sequence[Sequence[float]]) -> float:
    """Log-odds a point: how surely people put the answer with the higher grade first, of two about the same dialogue."""
    from scipy.optimize import minimize_scalar

    target = data.target(OVERALL)
    grades = calibrated(out_of_fold(data, target, choice), tuple((raw, grade) for raw, grade in knots))
    pairs = [(i, j) for i, j in combinations(range(len(target)), 2) if data.groups[i] == data.groups[j]]
    signed = np.array(
        [(grades[i] - grades[j]) * np.sign(target[i] - target[j]) for i, j in pairs if target[i] != target[j]]
    )
    found = minimize_scalar(lambda slope: np.logaddexp(0, -slope * signed).sum(), bounds=(0, 20), method="bounded")
    return round(float(found.x), 4)


def fit_model(rated: RatedSet) -> dict[str, Any]:
    """The content of `offline_model.json`."""
    rows = [row for row in rated.rows if is_fitted_on(row)]
    data = measured(rows)
    choice = choose(data)
    overall = fit_scale(data, OVERALL, choice)
    return {
        "what": "Weights of the judge that needs no second model. Made by `make fit-judge`: do not edit.",
        "rated": {"set": rated.name, "fingerprint": rated.fingerprint, "answers": len(rows)},
        "dialogues": sorted({int(row.answered.id) for row in rows}),
        "fitted_on": sorted({row.group for row in rows}),
        "features_version": FEATURES_VERSION,
        "chosen": {"features": choice.feature_set, "penalty": choice.penalty},
        "overall": overall,
        "criteria": {name: fit_scale(data, measures, choose(data, measures)) for name, measures in CRITERIA.items()},
        "preference_slope": fit_slope(data, choice, overall["knots"]),
    }


def main() -> None:
    rated = read_rated_summaries(PROJECT_DIR / "data" / "evaluation" / "judge" / "rated_summaries.csv")
    content = fit_model(rated)
    write_text(MODEL_FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    Path(MODEL_FILE).chmod(0o644)  # it holds no text, and is part of the program
    print(f"Wrote {MODEL_FILE.name}: {content['chosen']}, fitted on {content['rated']['answers']} answers.")


if __name__ == "__main__":
    main()
