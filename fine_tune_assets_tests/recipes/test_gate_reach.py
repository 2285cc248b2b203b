"""A recipe with which no candidate could be promoted does not load, and the error names the number to change."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.judging.statistics.binary_pairs import BinaryPairs, score_interval
from fine_tune_assets.recipes.gate_reach import find_gate_reach, items_that_show
from fine_tune_assets.recipes.loader import dump_recipe, load_recipe, shipped_recipes

LLAMA = "llama3_8b_qlora_24gb"


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_can_promote(name: str) -> None:
    """Without accepting an untested task, and with at most one false promotion in twenty years."""
    recipe = load_recipe(name)
    reach = find_gate_reach(recipe)
    assert reach.obstacles == ()
    assert recipe.gate.untested_tasks == {}
    assert reach.yearly_false_promotions <= 0.05 + 1e-9


@pytest.mark.parametrize("limit", [0.01, 0.03, 0.1, 0.15, 0.5])
def test_the_number_of_items_is_the_smallest_whose_interval_shows_the_limit(limit: float) -> None:
    """The closed form and the interval that the verdict computes agree."""
    needed = items_that_show(limit)
    assert needed is not None
    assert score_interval(BinaryPairs(needed, 0, 0))[0] > -limit >= score_interval(BinaryPairs(needed - 1, 0, 0))[0]


Change = Callable[[dict[str, Any]], None]


def _set(section: str, **values: Any) -> Change:
    return lambda recipe: recipe[section].update(values)


def _drop_secrets(recipe: dict[str, Any]) -> None:
    recipe["planted_secrets"] = None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_set("judge", robustness_items=20), "raise judge.robustness_items to 22"),
        (_set("judge", ability_items=30), "raise judge.ability_items to 35"),
        (_set("judge", test_examples=90), "raise judge.test_examples to 100"),
        (_set("split", minimum_examples=400), "raise split.minimum_examples to 500"),
        (_set("split", test_fraction=0.0), "raise split.test_fraction"),
        (_set("gate", minimum_group_examples=90), "raise split.minimum_examples to 900"),
        (_set("gate", maximum_robustness_loss=0.0), "raise gate.maximum_robustness_loss"),
        (_set("gate", ability_budgets={"copa": 0.02}), "gate.ability_budgets.copa"),
        (_set("gate", verdicts_per_year=1000), "lower gate.verdicts_per_year"),
        (_set("judge", test_examples=10), "raise judge.test_examples"),
        (_set("gate", maximum_group_loss=0.0, minimum_group_examples=8), "gate.maximum_group_loss"),
        (_drop_secrets, "add planted_secrets"),
    ],
)
def test_numbers_that_hold_every_candidate_are_refused(tmp_path: Path, change: Change, named: str) -> None:
    values = dump_recipe(load_recipe(LLAMA))
    change(values)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(RecipeError, match="no candidate could be promoted") as caught:
        load_recipe(str(path))
    assert named in str(caught.value)


def test_the_gate_finds_smaller_gains_with_more_examples_and_a_larger_error_budget() -> None:
    recipe = load_recipe(LLAMA)
    gain = find_gate_reach(recipe).detectable_gain
    more = replace(recipe, split=replace(recipe.split, minimum_examples=2000))
    bolder = replace(recipe, gate=replace(recipe.gate, yearly_false_promotions=0.5))
    assert find_gate_reach(more).detectable_gain < gain
    assert find_gate_reach(bolder).detectable_gain < gain
