"""Fits the weights with which word overlap and a verifier's readings make up completeness: `make fit-judge`.

Non-negative least squares on half of the human-rated dialogues. The agreement that it prints is cross-fitted: each dialogue is
predicted by weights fitted on the others. The other half of the dialogues measures the judge and is not used here.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.judging.judges.formula_fit import is_training_dialogue, split_folds
from fine_tune_assets.judging.judges.formula_judge import formula_judge
from fine_tune_assets.judging.judges.grade_scales import PANEL_FILE, completeness_parts
from fine_tune_assets.judging.judges.labelled_sets import RatedAnswer, human_grade, read_rated_summaries
from fine_tune_assets.judging.judges.rubrics import read_rubric
from fine_tune_assets.judging.judges.statement_judge import StatementJudge
from fine_tune_assets.judging.judges.verifier.verifier_reader import open_verifier
from fine_tune_assets.judging.statistics.association import spearman

MEASURES: Final = ("FactualRecall", "OmissionRate")
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


def measure_parts(judge: StatementJudge, rows: Sequence[RatedAnswer]) -> Mapping[str, Floats]:
    """Member → its grades, of the members of completeness."""
    parts = [completeness_parts(*found) for found in judge.read_completeness([row.answered for row in rows])]
    return {name: np.array([part[name] for part in parts]) for name in parts[0]}


def human_grades(rows: Sequence[RatedAnswer]) -> Floats:
    """Mean of the human measures on the scale from 1 to 10."""
    return np.array([np.mean([human_grade(name, row.ratings[name]) for name in MEASURES]) for row in rows])


def fit_panel(judge: StatementJudge, rows: Sequence[RatedAnswer]) -> dict[str, Any]:
    """The content of `panel_model.json`."""
    members = measure_parts(judge, rows)
    parts, target = np.column_stack(list(members.values())), human_grades(rows)
    groups = np.array([row.group for row in rows])
    weights = fit_weights(parts, target)
    return {
        "description": "Weights of the members of completeness. Made by `make fit-judge`: do not edit.",
        "completeness": {name: round(float(weight), 4) for name, weight in zip(members, weights, strict=True)},
        "cross_fitted_spearman": round(spearman(predict_out_of_fold(parts, target, groups), target), 3),
        "reader": dict(judge.reader.identity),
    }


def main() -> None:
    rated = read_rated_summaries(PROJECT_DIR / "data" / "evaluation" / "judge" / "rated_summaries.csv")
    rows = [row for row in rated.rows if is_training_dialogue(row)]
    judge = StatementJudge("verifier", open_verifier("", 2), read_rubric("clinical"), formula_judge())
    content = fit_panel(judge, rows)
    write_text(PANEL_FILE, json.dumps(content, indent=1) + "\n")
    Path(PANEL_FILE).chmod(0o644)  # contains no text and ships with the package
    print(f"Wrote {PANEL_FILE.name}: {content['completeness']}, cross-fitted {content['cross_fitted_spearman']}")


if __name__ == "__main__":
    main()
