"""Reads the rubric of a recipe, and combines the grades of its criteria into one."""

from collections.abc import Mapping
from functools import cache
from typing import Final

from pydantic import TypeAdapter

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.paths import PACKAGE_DIR
from fine_tune_assets.core.strict_parsing import load_values
from fine_tune_assets.judging.judges.grades import Criterion
from fine_tune_assets.recipes.schema import RubricCriterion

Rubric = tuple[RubricCriterion, ...]
SHIPPED_RUBRICS: Final = {file.parent.name: file for file in sorted((PACKAGE_DIR / "packs").glob("*/rubric.yaml"))}


def read_rubric(rubric: str | Rubric) -> Rubric:
    """The criteria of a shipped rubric by its name, or the recipe's own. Raises RecipeError."""
    if isinstance(rubric, tuple):
        return rubric
    if rubric not in SHIPPED_RUBRICS:
        raise RecipeError(f"judge.rubric: there is no rubric {rubric}. Shipped: {', '.join(SHIPPED_RUBRICS)}.")
    return _read_file(rubric)


@cache
def _read_file(name: str) -> Rubric:
    values = load_values(SHIPPED_RUBRICS[name].read_text(encoding="utf-8"))
    return TypeAdapter(tuple[RubricCriterion, ...]).validate_python(values)


def overall_grade(rubric: Rubric, criteria: Mapping[str, Criterion]) -> float | None:
    """The mean of the graded criteria, weighted by the rubric, 1 to 10; None if no criterion was graded."""
    graded = [(one.weight, criteria[one.name].score) for one in rubric if one.name in criteria]
    total = sum(weight for weight, _ in graded)
    return round(sum(weight * score for weight, score in graded) / total, 2) if graded else None
