"""Fits the weights of completeness on people's ratings.

`make fit-judge` does it for the shipped verifier, and `judge_agreement` for every other reader.

Non-negative least squares on half of the human-rated dialogues, from word overlap and readings. The stated agreement is
cross-fitted: each dialogue is predicted by weights fitted on the others. The other half of the dialogues measures the judge
and is not used here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.judging.judges.grade_scales import completeness_parts
from fine_tune_assets.judging.judges.judge_weights import (
    SHIPPED_FILE,
    JudgeWeights,
    is_shipped_reader,
    reader_key,
    store_weights,
    write_weights,
)
from fine_tune_assets.judging.judges.labelled_sets import (
    CRITERION_MEASURES,
    RATED_SUMMARIES,
    RatedAnswer,
    RatedSet,
    human_grade,
    read_rated_summaries,
)
from fine_tune_assets.judging.judges.rubrics import read_rubric
from fine_tune_assets.judging.judges.statement_judge import StatementJudge
from fine_tune_assets.judging.judges.verifier.verifier_reader import open_verifier
from fine_tune_assets.judging.judges.word_overlap_fit import is_training_dialogue, split_folds
from fine_tune_assets.judging.statistics.association import spearman

COMPLETENESS: Final = CRITERION_MEASURES["reference"]
MIN_ANSWERS: Final = 50
"""Fewer answers with a reading fit no weights."""
Floats = NDArray[np.float64]


def fit_weights(parts: Floats, target: Floats) -> Floats:
    """Non-negative weights that sum to 1. `parts`: shape (answers, parts), grades from 1 to 10; `target`: people's grades."""
    from scipy.optimize import nnls

    found, _ = nnls(parts - parts.mean(axis=0), target - target.mean())
    return found / found.sum() if found.sum() else np.full(parts.shape[1], 1 / parts.shape[1])


def predict_out_of_fold(parts: Floats, target: Floats, groups: NDArray[np.str_]) -> Floats:
    """Each dialogue by weights that were fitted on the others."""
    found = np.zeros(len(target))
    for inside, outside in split_folds(groups):
        found[outside] = parts[outside] @ fit_weights(parts[inside], target[inside])
    return found


@dataclass(frozen=True)
class FittedWeights:
    weights: JudgeWeights
    agreement: float
    """Cross-fitted rank correlation with people."""


def fit_judge(judge: StatementJudge, sets: Sequence[RatedSet], folder: Path) -> StatementJudge:
    """The judge with weights that were fitted for its reader, and stored in `folder`.

    Unchanged if its weights ship with the package, or if too few rated answers have a reading.
    """
    rated = next((one for one in sets if one.name == RATED_SUMMARIES), None)
    if rated is None or is_shipped_reader(judge.reader.identity):
        return judge
    fitted = fit_weights_of(judge, [row for row in rated.rows if is_training_dialogue(row)])
    if fitted is None:
        return judge
    store_weights(folder, judge.reader.identity, fitted.weights)
    return replace(judge, weights=fitted.weights)


def fit_weights_of(judge: StatementJudge, rows: Sequence[RatedAnswer]) -> FittedWeights | None:
    """None if fewer than MIN_ANSWERS answers have a reading."""
    wanted = judge.read_completeness([row.answered for row in rows])
    graded = [(row, completeness_parts(*found)) for row, found in zip(rows, wanted, strict=True) if found[0]]
    if len(graded) < MIN_ANSWERS:
        return None
    names = list(graded[0][1])
    parts = np.array([[part[name] for name in names] for _, part in graded])
    is_known = np.isfinite(parts).all(axis=1)
    if is_known.sum() < MIN_ANSWERS:
        return None
    target = np.array([np.mean([human_grade(name, row.ratings[name]) for name in COMPLETENESS]) for row, _ in graded])
    groups = np.array([row.group for row, _ in graded])
    parts, target, groups = parts[is_known], target[is_known], groups[is_known]
    weights = [round(float(weight), 4) for weight in fit_weights(parts, target)]
    agreement = round(float(spearman(predict_out_of_fold(parts, target, groups), target)), 3)
    return FittedWeights(JudgeWeights(dict(zip(names, weights, strict=True))), agreement)


def main() -> None:
    rated = read_rated_summaries(PROJECT_DIR / "data" / "evaluation" / "judge" / "rated_summaries.csv")
    rows = [row for row in rated.rows if is_training_dialogue(row)]
    judge = StatementJudge("verifier", open_verifier("", 2), read_rubric("clinical", "clinical"))
    fitted = fit_weights_of(judge, rows)
    if fitted is None:
        raise SystemExit(f"Fewer than {MIN_ANSWERS} rated answers have a reading.")
    facts = {
        "description": "Weights of completeness. Made by `make fit-judge`: do not edit.",
        "reader": reader_key(judge.reader.identity),
        "cross_fitted_spearman": {"completeness": fitted.agreement},
    }
    write_weights(SHIPPED_FILE, fitted.weights, facts)
    SHIPPED_FILE.chmod(0o644)  # contains no text and ships with the package
    print(f"Wrote {SHIPPED_FILE.name}: {fitted.weights.facts}, cross-fitted {fitted.agreement}")


if __name__ == "__main__":
    main()
