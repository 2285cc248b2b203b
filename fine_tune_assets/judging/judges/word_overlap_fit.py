"""Fits word overlap (word_overlap.py) on half of the human-rated dialogues: `make fit-judge`.

Weights and features are chosen by cross-validation within that half, by whole dialogues. The other half measures judges and is
not used here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.judging.judges.answer_features import FEATURES, FEATURES_VERSION, measure_answers
from fine_tune_assets.judging.judges.grades import MAX_SCORE, MIN_SCORE
from fine_tune_assets.judging.judges.labelled_sets import RatedAnswer, RatedSet, human_grade, read_rated_summaries
from fine_tune_assets.judging.judges.word_overlap import MODEL_FILE
from fine_tune_assets.judging.statistics.association import fit_knots, pin_ends, spearman

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

FEATURE_SETS: Mapping[str, tuple[str, ...]] = {
    "content recall": ("content recall",),
    "words": FEATURES,
}
PENALTIES = (10.0, 30.0, 100.0)
"""Ridge penalties, on standardized features."""
FOLDS = 5
SEED = 20260101
OVERALL = ("FactualF1", "OmissionRate")
"""The grade is fitted on the mean of both, because each alone is a noisy measure."""


@dataclass(frozen=True)
class FittingData:
    features: Floats
    """Shape (answers, FEATURES)."""
    ratings: Mapping[str, Floats]
    groups: NDArray[np.str_]

    def rows(self, index: Any) -> "FittingData":
        ratings = {name: values[index] for name, values in self.ratings.items()}
        return FittingData(self.features[index], ratings, self.groups[index])

    def target(self, measures: Sequence[str]) -> Floats:
        """The human grade from 1 to 10: the mean of the given measures."""
        grades = [[human_grade(name, float(value)) for value in self.ratings[name]] for name in measures]
        return np.asarray(np.mean(grades, axis=0))


@dataclass(frozen=True)
class Hyperparameters:
    feature_set: str
    penalty: float


def is_training_dialogue(row: RatedAnswer) -> bool:
    """Dialogues with an even number train the judge; the others measure it."""
    return int(row.answered.id) % 2 == 0


def prepare_data(rows: Sequence[RatedAnswer]) -> FittingData:
    features = measure_answers([row.answered for row in rows])
    ratings = {name: np.array([row.ratings[name] for row in rows]) for name in rows[0].ratings}
    return FittingData(features, ratings, np.array([row.group for row in rows]))


def fit_weights(data: FittingData, target: Floats, choice: Hyperparameters) -> tuple[Floats, float]:
    """Ridge regression with nonnegative weights. Returns the weights of FEATURES and the intercept."""
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


def predict_out_of_fold(data: FittingData, target: Floats, choice: Hyperparameters) -> Floats:
    """Predictions for each dialogue by weights fitted on other dialogues."""
    found = np.zeros(len(target))
    for inside, outside in split_folds(data.groups):
        weights, intercept = fit_weights(data.rows(inside), target[inside], choice)
        found[outside] = data.features[outside] @ weights + intercept
    return found


def split_folds(groups: NDArray[np.str_]) -> list[tuple[Rows, Rows]]:
    """Training and held-out rows per fold, by whole dialogues."""
    names = np.random.default_rng(SEED).permutation(np.unique(groups))
    parts = [np.isin(groups, part) for part in np.array_split(names, FOLDS)]
    return [(np.flatnonzero(~part), np.flatnonzero(part)) for part in parts]


def choose_hyperparameters(data: FittingData, measures: Sequence[str] = OVERALL) -> Hyperparameters:
    """The features and penalty that agree best on held-out dialogues."""
    target = data.target(measures)
    choices = [Hyperparameters(*pair) for pair in product(FEATURE_SETS, PENALTIES)]
    return max(choices, key=lambda choice: spearman(predict_out_of_fold(data, target, choice), target))


def fit_grade_model(data: FittingData, measures: Sequence[str], choice: Hyperparameters) -> dict[str, Any]:
    """Weights, and the map to the human scale from out-of-fold predictions."""
    target = data.target(measures)
    weights, intercept = fit_weights(data, target, choice)
    ends = (intercept, MIN_SCORE), (intercept + float(weights.sum()), MAX_SCORE)
    knots = pin_ends(fit_knots(predict_out_of_fold(data, target, choice).tolist(), target.tolist()), *ends)
    return {
        "weights": {
            name: round(float(weight), 6) for name, weight in zip(FEATURES, weights, strict=True) if weight > 0
        },
        "intercept": round(intercept, 6),
        "knots": [[round(raw, 6), round(grade, 6)] for raw, grade in knots],
    }


def fit_model(rated: RatedSet) -> dict[str, Any]:
    """The content of `word_overlap_model.json`."""
    rows = [row for row in rated.rows if is_training_dialogue(row)]
    data = prepare_data(rows)
    choice = choose_hyperparameters(data)
    return {
        "description": "Weights of the judge that needs no second model. Made by `make fit-judge`: do not edit.",
        "training_set": {"set": rated.name, "fingerprint": rated.fingerprint, "answers": len(rows)},
        "dialogues": sorted({int(row.answered.id) for row in rows}),
        "training_groups": sorted({row.group for row in rows}),
        "features_version": FEATURES_VERSION,
        "hyperparameters": {"features": choice.feature_set, "penalty": choice.penalty},
        "overall": fit_grade_model(data, OVERALL, choice),
    }


def main() -> None:
    rated = read_rated_summaries(PROJECT_DIR / "data" / "evaluation" / "judge" / "rated_summaries.csv")
    content = fit_model(rated)
    write_text(MODEL_FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    Path(MODEL_FILE).chmod(0o644)  # contains no text and ships with the package
    print(
        f"Wrote {MODEL_FILE.name}: {content['hyperparameters']}, fitted on {content['training_set']['answers']} answers."
    )


if __name__ == "__main__":
    main()
