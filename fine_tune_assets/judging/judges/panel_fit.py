"""Fits the weights of a judge's members on people's ratings.

`make fit-judge` does it for the shipped verifier, and `judge_agreement` for every other reader.

Non-negative least squares on half of the human-rated dialogues: completeness from word overlap and readings, and in a panel the
shares of verifier and language model from factual accuracy. The stated agreement is cross-fitted: each dialogue is
predicted by weights fitted on the others. The other half of the dialogues measures the judge and is not used here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.judging.judges.grade_scales import completeness_parts, grade_statements
from fine_tune_assets.judging.judges.judge_weights import (
    SHIPPED_FILE,
    JudgeWeights,
    is_shipped_reader,
    reader_key,
    shipped_weights,
    store_weights,
    write_weights,
)
from fine_tune_assets.judging.judges.labelled_sets import (
    CRITERION_MEASURES,
    RATED_SUMMARIES,
    LabelledSet,
    RatedAnswer,
    RatedSet,
    human_grade,
    read_rated_summaries,
)
from fine_tune_assets.judging.judges.panel_reader import PanelReader
from fine_tune_assets.judging.judges.rubrics import read_rubric
from fine_tune_assets.judging.judges.statement_judge import StatementJudge
from fine_tune_assets.judging.judges.verifier.verifier_reader import open_verifier
from fine_tune_assets.judging.judges.word_overlap_fit import is_training_dialogue, split_folds
from fine_tune_assets.judging.statistics.association import spearman

COMPLETENESS: Final = CRITERION_MEASURES["reference"]
ACCURACY: Final = CRITERION_MEASURES["statements"][:1]
MIN_ANSWERS: Final = 50
"""Fewer answers with a reading of every member fit no weights."""
Floats = NDArray[np.float64]


def fit_weights(parts: Floats, target: Floats) -> Floats:
    """Non-negative weights that sum to 1. `parts`: shape (answers, members), grades from 1 to 10; `target`: people's grades."""
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
    agreement: dict[str, float]
    """Group of weights → cross-fitted rank correlation with people."""


def fit_judge(judge: StatementJudge, sets: Sequence[LabelledSet], folder: Path) -> StatementJudge:
    """The judge with weights that were fitted for its reader, and stored in `folder`.

    Unchanged if its weights ship with the package, or if too few rated answers have a reading.
    """
    rated = next((one for one in sets if isinstance(one, RatedSet) and one.name == RATED_SUMMARIES), None)
    if rated is None or is_shipped_reader(judge.reader.identity):
        return judge
    fitted = fit_weights_of(judge, [row for row in rated.rows if is_training_dialogue(row)])
    if fitted is None:
        return judge
    store_weights(folder, judge.reader.identity, fitted.weights)
    return _weighted(judge, fitted.weights)


def fit_weights_of(judge: StatementJudge, rows: Sequence[RatedAnswer]) -> FittedWeights | None:
    """None if fewer than MIN_ANSWERS answers have a reading."""
    weights, agreement = shipped_weights(), dict[str, float]()
    if isinstance(judge.reader, PanelReader):
        members = [replace(judge, reader=one) for one in (judge.reader.verifier, judge.reader.language_model)]
        parts = np.column_stack([_accuracy_grades(member, rows) for member in members])
        found = _fit(parts, rows, ACCURACY)
        if found is None:
            return None
        weights = replace(weights, readers=tuple(found[0]))
        agreement["readers"] = found[1]
    judge = _weighted(judge, weights)
    wanted = judge.read_completeness([row.answered for row in rows])
    graded = [(row, completeness_parts(*found)) for row, found in zip(rows, wanted, strict=True) if found[0]]
    if len(graded) < MIN_ANSWERS:
        return None
    names = list(graded[0][1])
    parts = np.array([[part[name] for name in names] for _, part in graded])
    completeness = _fit(parts, [row for row, _ in graded], COMPLETENESS)
    if completeness is None:
        return None
    agreement["completeness"] = completeness[1]
    return FittedWeights(replace(weights, completeness=dict(zip(names, completeness[0], strict=True))), agreement)


def _accuracy_grades(judge: StatementJudge, rows: Sequence[RatedAnswer]) -> Floats:
    """NaN where there is no reading."""
    grades = [grade_statements(own) for own in judge.read_accuracy([row.answered for row in rows])]
    return np.array([np.nan if grade is None else grade.score for grade in grades])


def _fit(parts: Floats, rows: Sequence[RatedAnswer], measures: Sequence[str]) -> tuple[list[float], float] | None:
    """Weights of the columns, and their cross-fitted agreement. Ignores rows that a member did not grade."""
    is_known = np.isfinite(parts).all(axis=1)
    if is_known.sum() < MIN_ANSWERS:
        return None
    target = np.array([np.mean([human_grade(name, row.ratings[name]) for name in measures]) for row in rows])[is_known]
    parts, groups = parts[is_known], np.array([row.group for row in rows])[is_known]
    weights = [round(float(weight), 4) for weight in fit_weights(parts, target)]
    return weights, round(float(spearman(predict_out_of_fold(parts, target, groups), target)), 3)


def _weighted(judge: StatementJudge, weights: JudgeWeights) -> StatementJudge:
    reader = judge.reader
    if isinstance(reader, PanelReader):
        reader = replace(reader, weights=weights.readers)
    return replace(judge, reader=reader, weights=weights)


def main() -> None:
    rated = read_rated_summaries(PROJECT_DIR / "data" / "evaluation" / "judge" / "rated_summaries.csv")
    rows = [row for row in rated.rows if is_training_dialogue(row)]
    judge = StatementJudge("verifier", open_verifier("", 2), read_rubric("clinical", "clinical"))
    fitted = fit_weights_of(judge, rows)
    if fitted is None:
        raise SystemExit(f"Fewer than {MIN_ANSWERS} rated answers have a reading.")
    facts = {
        "description": "Weights of the members of a grade. Made by `make fit-judge`: do not edit.",
        "reader": reader_key(judge.reader.identity),
        "cross_fitted_spearman": fitted.agreement,
    }
    write_weights(SHIPPED_FILE, fitted.weights, facts)
    SHIPPED_FILE.chmod(0o644)  # contains no text and ships with the package
    print(f"Wrote {SHIPPED_FILE.name}: {fitted.weights.facts}, cross-fitted {fitted.agreement}")


if __name__ == "__main__":
    main()
