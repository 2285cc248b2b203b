"""Reads the rubric of a recipe, and combines the grades of its criteria into one."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from pydantic import TypeAdapter

from fine_tune_assets.core.errors import DomainPackError, RecipeError
from fine_tune_assets.core.paths import PACKAGE_DIR
from fine_tune_assets.core.strict_parsing import load_values
from fine_tune_assets.judging.judges.grades import Criterion
from fine_tune_assets.recipes.domain_packs import LoadedPack, load_pack
from fine_tune_assets.recipes.schema import Recipe, RubricCriterion

Rubric = tuple[RubricCriterion, ...]
OF_DOMAIN: Final = "domain"
"""Value of `judge.rubric` for the rubric of the domain pack."""
SHIPPED_RUBRICS: Final = {file.parent.name: file for file in sorted((PACKAGE_DIR / "packs").glob("*/rubric.yaml"))}


def read_rubric(rubric: str | Rubric, domain: str) -> Rubric:
    """The criteria of a shipped rubric by its name, of the domain pack, or the recipe's own.

    Raises RecipeError, DomainPackError.
    """
    if isinstance(rubric, tuple):
        return rubric
    if rubric == OF_DOMAIN:
        return _read_pack_rubric(load_pack(domain))
    if rubric not in SHIPPED_RUBRICS:
        raise RecipeError(f"judge.rubric: there is no rubric {rubric}. Shipped: {', '.join(SHIPPED_RUBRICS)}.")
    return _read_file(rubric)


def read_recipe_rubric(recipe: Recipe) -> Rubric:
    """The criteria that a recipe names. Raises RecipeError, DomainPackError."""
    return read_rubric(recipe.judge.rubric, recipe.domain)


@cache
def _read_pack_rubric(pack: LoadedPack) -> Rubric:
    if not pack.rubric_file.is_file():
        raise DomainPackError(
            f"Domain pack {pack.name} has no {pack.rubric_file.name}. Name another rubric in judge.rubric."
        )
    return _parse(load_values(pack.rubric_file.read_text(encoding="utf-8")))


@cache
def _read_file(name: str) -> Rubric:
    return _parse(load_values(SHIPPED_RUBRICS[name].read_text(encoding="utf-8")))


def _parse(values: Any) -> Rubric:
    return TypeAdapter(tuple[RubricCriterion, ...]).validate_python(values)


def overall_grade(rubric: Rubric, criteria: Mapping[str, Criterion]) -> float | None:
    """The mean of the graded criteria, weighted by the rubric, 1 to 10; None if no criterion was graded."""
    graded = [(one.weight, criteria[one.name].score) for one in rubric if one.name in criteria]
    total = sum(weight for weight, _ in graded)
    return round(sum(weight * score for weight, score in graded) / total, 2) if graded else None
