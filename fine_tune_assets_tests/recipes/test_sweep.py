"""What a recipe may say of a sweep, and what is refused by its name."""

from typing import Any

import pytest

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.recipes.loader import parse_recipe
from fine_tune_assets.recipes.sweep import Range, SweepSettings
from fine_tune_assets_tests.recipes.test_loader import demo_values

RATES = {"low": 1e-4, "high": "2e-3", "log": True}
"""YAML reads 2e-3 without a point as text."""


def _sweep(**changed: Any) -> SweepSettings | None:
    sweep = {"parameters": {"rank": [8, 16], "learning_rate": RATES}, "seed": 1, "trials": 4} | changed
    return parse_recipe({**demo_values(), "sweep": sweep}, "mine.yaml").sweep


def test_lists_and_ranges_are_read() -> None:
    """As they stand; without a sweep there is one training."""
    sweep = _sweep()
    assert sweep is not None
    assert sweep.parameters == {"rank": (8, 16), "learning_rate": Range(low=1e-4, high=2e-3, log=True)}
    assert sweep.wanted == 4
    assert parse_recipe(demo_values(), "mine.yaml").sweep is None


def test_lists_alone_make_a_grid() -> None:
    """Every combination, unless the recipe wants fewer."""
    grid = _sweep(parameters={"rank": [8, 16], "dropout": [0.0, 0.05, 0.1]}, trials=None)
    assert grid is not None
    assert grid.wanted == 6


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"parameters": {}}, "at least 1 item"),
        ({"parameters": {"rank": []}}, "at least 1 item"),
        ({"parameters": {"max_length": [100]}}, "max_length"),
        ({"parameters": {"rank": [8, 8]}}, "rank names a value twice"),
        ({"parameters": {"rank": [8, 8.5]}}, "rank takes whole numbers"),
        ({"parameters": {"rank": {"low": 2.5, "high": 8}}}, "rank takes whole numbers"),
        ({"parameters": {"rank": [8, 0], "alpha": [1, 2]}}, "rank: 0 can't be trained with"),
        ({"parameters": {"learning_rate": {"low": 1e-4, "high": 0.5}}}, "learning_rate: 0.5 can't be trained with"),
        ({"parameters": {"dropout": {"low": 0.1, "high": 0.1}}}, "low must be below high"),
        ({"parameters": {"dropout": {"low": 0.2, "high": 0.1}}}, "low must be below high"),
        ({"parameters": {"dropout": {"low": 0.0, "high": 0.1, "log": True}}}, "begins above 0"),
        ({"parameters": {"dropout": {"low": 0.0, "high": 0.1, "step": 2}}}, "step"),
        ({"trials": None}, "say how many trials"),
        ({"trials": 0}, "greater than 0"),
        ({"parameters": {"rank": [8, 16]}, "trials": 3}, "3 trials of 2 combinations"),
        ({"seeds": 3}, "seeds"),
    ],
)
def test_what_can_not_be_tried_is_refused(changed: dict[str, Any], said: str) -> None:
    """Before the first GPU hour, not in the seventh trial."""
    with pytest.raises(RecipeError, match=said):
        _sweep(**changed)


def test_a_sweep_needs_a_seed() -> None:
    """What is tried by chance must be tried again by whoever repeats it."""
    with pytest.raises(RecipeError, match=r"sweep\.seed"):
        parse_recipe({**demo_values(), "sweep": {"parameters": {"rank": [8, 16]}}}, "mine.yaml")


def test_a_step_is_split_by_the_plan_or_by_the_sweep() -> None:
    """Both at once: a trial would learn from another number of examples a step than it says."""
    sweep = {"parameters": {"batch_size": [2, 4]}, "seed": 1}
    values = demo_values()
    parse_recipe({**values, "sweep": sweep}, "mine.yaml")
    values["training"]["fit_batch_size"] = True
    with pytest.raises(RecipeError, match="leave one of the two"):
        parse_recipe({**values, "sweep": sweep}, "mine.yaml")
