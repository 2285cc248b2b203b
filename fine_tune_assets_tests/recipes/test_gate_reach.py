"""A recipe with which no candidate could be promoted does not load, and the error names the number to change."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.judging.evaluation.general_abilities import compare_abilities
from fine_tune_assets.judging.evaluation.robustness_cases import BLANK_INPUTS, PROBES, build_probe_table
from fine_tune_assets.judging.statistics.binary_pairs import BinaryPairs, score_interval
from fine_tune_assets.judging.verdicts.promotion_rule import decide_promotion
from fine_tune_assets.recipes.gate_reach import (
    BLANK_FORMS,
    find_gate_reach,
    items_that_show,
    list_obstacles,
    require_reachable_gate,
)
from fine_tune_assets.recipes.loader import dump_recipe, load_recipe, parse_recipe, shipped_recipes
from fine_tune_assets_tests.judging.verdict_inputs import GOOD_TABLES, checked, evidence, gains, graded, remembered

LLAMA = "llama3_8b_qlora_24gb"


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_can_promote(name: str) -> None:
    """Without accepting an untested task, and with at most one false promotion in twenty years."""
    recipe = load_recipe(name)
    reach = find_gate_reach(recipe)
    assert list_obstacles(recipe) == []
    assert reach.detectable_gain is not None
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
        (_set("gate", verdicts_per_year=100_000), "lower gate.verdicts_per_year"),
        (_set("judge", test_examples=10), "can't show a gain"),
        (_set("gate", minimum_gain=9.0), "gate.minimum_gain (9)"),
        (_set("gate", minimum_group_examples=6), "gate.minimum_group_examples (6)"),
        (_set("gate", maximum_robustness_loss=0.015), "blank inputs"),
        (_drop_secrets, "planted_secrets is missing"),
    ],
)
def test_numbers_that_hold_every_candidate_are_refused(change: Change, named: str) -> None:
    values = dump_recipe(load_recipe(LLAMA))
    change(values)
    with pytest.raises(RecipeError, match="no candidate could be promoted") as caught:
        require_reachable_gate(parse_recipe(values, "mine.yaml"), "mine.yaml")
    assert named in str(caught.value)


def test_the_number_of_blank_inputs_is_that_of_the_robustness_cases() -> None:
    assert len(set(BLANK_INPUTS)) == BLANK_FORMS


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_perfect_candidate_is_promoted_with_the_smallest_set(name: str) -> None:
    """The obstacles and the rule must not contradict each other."""
    recipe = load_recipe(name)
    asked, names = find_gate_reach(recipe).test_examples, [task.name for task in recipe.tasks]
    rows = gains([2.0 + (i % 5) / 2 for i in range(asked)])
    ids, items = sorted(rows), recipe.judge.robustness_items
    scores = graded(rows)
    passed = {case: [True] * items for case in PROBES}
    tables = replace(
        GOOD_TABLES,
        judge_scores=scores,
        retained_abilities=compare_abilities(
            "adapter", {"copa": ([True] * recipe.judge.ability_items,) * 2}, {"copa": 0.1}
        ),
        answer_checks=checked(scores),
        robustness_results=build_probe_table("adapter", passed, passed),
        memorization_results=remembered(),
    )
    tasks = {task: ids[place :: len(names)] for place, task in enumerate(names)}
    made = evidence(tables, recipe.gate, {"site: one": ids[::2], "site: two": ids[1::2]}, tasks=tasks)
    decided = decide_promotion(made, recipe.gate)
    assert decided.decision == "promote", decided.reasons


def test_the_gate_finds_smaller_gains_with_more_examples_and_a_larger_error_budget() -> None:
    recipe = load_recipe(LLAMA)
    gain = find_gate_reach(recipe).detectable_gain
    more = replace(recipe, split=replace(recipe.split, minimum_examples=2000))
    bolder = replace(recipe, gate=replace(recipe.gate, yearly_false_promotions=0.5))
    for easier in (more, bolder):
        found = find_gate_reach(easier).detectable_gain
        assert found is not None
        assert gain is not None
        assert found < gain
