"""Valid sweeps of a recipe, and invalid fields that are refused by name."""

from typing import Any

import pytest

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.recipes.loader import parse_recipe
from fine_tune_assets.recipes.sweep import Range, SweepSettings
from fine_tune_assets_tests.recipes.test_loader import demo_values

RATES = {"low": 1e-4, "high": "2e-3", "log": True}
"""YAML reads 2e-3, which has no decimal point, as text."""


def _sweep(**changed: Any) -> SweepSettings | None:
    sweep = {"parameters": {"rank": [8, 16], "learning_rate": RATES}, "seed": 1, "trials": 4} | changed
    return parse_recipe({**demo_values(), "sweep": sweep}, "mine.yaml").sweep


def test_lists_and_ranges_are_read() -> None:
    """A recipe without a sweep has one training."""
    sweep = _sweep()
    assert sweep is not None
    assert sweep.parameters == {"rank": (8, 16), "learning_rate": Range(low=1e-4, high=2e-3, log=True)}
    assert sweep.trial_count == 4
    assert parse_recipe(demo_values(), "mine.yaml").sweep is None


def test_lists_alone_make_a_grid() -> None:
    """A grid has every combination, unless the recipe limits the trials."""
    grid = _sweep(parameters={"rank": [8, 16], "dropout": [0.0, 0.05, 0.1]}, trials=None)
    assert grid is not None
    assert grid.trial_count == 6


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"parameters": {}}, "at least 1 item"),
        ({"parameters": {"rank": []}}, "at least 1 item"),
        ({"parameters": {"max_length": [100]}}, "max_length"),
        ({"parameters": {"rank": [8, 8]}}, "rank .* twice"),
        ({"parameters": {"rank": [8, 8.5]}}, "rank must be whole numbers"),
        ({"parameters": {"rank": {"low": 2.5, "high": 8}}}, "rank must be whole numbers"),
        ({"parameters": {"rank": [8, 0], "alpha": [1, 2]}}, "rank: 0 "),
        ({"parameters": {"learning_rate": {"low": 1e-4, "high": 0.5}}}, "learning_rate: 0.5 "),
        ({"parameters": {"dropout": {"low": 0.1, "high": 0.1}}}, "low must be below high"),
        ({"parameters": {"dropout": {"low": 0.2, "high": 0.1}}}, "low must be below high"),
        ({"parameters": {"dropout": {"low": 0.0, "high": 0.1, "log": True}}}, "must be above 0"),
        ({"parameters": {"dropout": {"low": 0.0, "high": 0.1, "step": 2}}}, "step"),
        ({"trials": None}, "needs trials"),
        ({"trials": 0}, "greater than 0"),
        ({"parameters": {"rank": [8, 16]}, "trials": 3}, "3 trials exceed the 2 combinations"),
        ({"seeds": 3}, "seeds"),
    ],
)
def test_an_invalid_sweep_is_refused(changed: dict[str, Any], reason: str) -> None:
    """It is refused before the first GPU hour, not in the seventh trial."""
    with pytest.raises(RecipeError, match=reason):
        _sweep(**changed)


def test_a_sweep_needs_a_seed() -> None:
    """A repeated sweep must sample the same trials."""
    with pytest.raises(RecipeError, match=r"sweep\.seed"):
        parse_recipe({**demo_values(), "sweep": {"parameters": {"rank": [8, 16]}}}, "mine.yaml")


def test_the_batch_size_is_set_by_the_plan_or_by_the_sweep() -> None:
    """With both, a trial would use a different number of examples per step than it states."""
    sweep = {"parameters": {"batch_size": [2, 4]}, "seed": 1}
    values = demo_values()
    parse_recipe({**values, "sweep": sweep}, "mine.yaml")
    values["training"]["fit_batch_size"] = True
    with pytest.raises(RecipeError, match=r"training\.fit_batch_size"):
        parse_recipe({**values, "sweep": sweep}, "mine.yaml")
