"""Whether the gate of a recipe can open: what a candidate needs that passes every test, worked out from the recipe's own numbers.

The evidence of a verdict decides. This module finds, before anything is trained, the numbers that would hold every candidate.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor, sqrt
from statistics import NormalDist

from fine_tune_assets.recipes.error_levels import ALPHA, tail_level
from fine_tune_assets.recipes.schema import Recipe

TARGET_POWER = 0.8
GRADE_SPREAD = 2.2
"""Standard deviation of the grade differences between two models, in points, as measured in the demo."""
DRAWS = 9999
"""Draws of subjects in a verdict, which limit how small a p-value can be."""


@dataclass(frozen=True)
class GateReach:
    """What the gate of a recipe can show with the smallest instruction set that the recipe trains on."""

    test_examples: int
    detectable_gain: float
    """The smallest gain in points that one verdict finds with a power of 80 %."""
    verdict_false_promotions: float
    """Chance that one candidate without a gain is promoted."""
    yearly_false_promotions: float
    """The same for a year of `gate.verdicts_per_year` candidates."""
    obstacles: tuple[str, ...]
    """Why no candidate could be promoted, each with the number to change; empty if one can be."""


def find_gate_reach(recipe: Recipe) -> GateReach:
    """Planned for one test example per subject and equally frequent tasks."""
    gate, examples = recipe.gate, _test_examples(recipe)
    level = gate.verdict_level(gate.verdicts_per_year)
    gain = gate.minimum_gain + _multiple(examples, level) * GRADE_SPREAD / sqrt(max(1, examples))
    obstacles = (
        *_set_obstacles(recipe),
        *_task_obstacles(recipe, examples),
        *_level_obstacles(recipe, level),
        *_item_obstacles(recipe),
        *_group_obstacles(recipe, examples, gain),
    )
    return GateReach(
        test_examples=examples,
        detectable_gain=gain,
        verdict_false_promotions=level,
        yearly_false_promotions=min(1.0, level * gate.verdicts_per_year),
        obstacles=obstacles,
    )


def items_that_show(limit: float) -> int | None:
    """Items, all passed by both models, that show a loss of at most `limit` by Tango's 95 % score interval; None if none do."""
    if not limit > 0:
        return None
    squared = NormalDist().inv_cdf(1 - ALPHA) ** 2
    return floor(squared * (1 - limit) / limit) + 1


def _expected_test_examples(recipe: Recipe) -> int:
    return floor(recipe.split.minimum_examples * recipe.split.test_fraction + 1e-9)


def _test_examples(recipe: Recipe) -> int:
    return min(recipe.judge.test_examples, _expected_test_examples(recipe))


def _multiple(examples: int, level: float) -> float:
    return NormalDist().inv_cdf(1 - tail_level(examples, level)) + NormalDist().inv_cdf(TARGET_POWER)


def _set_obstacles(recipe: Recipe) -> Iterator[str]:
    gate, expected = recipe.gate, _expected_test_examples(recipe)
    if recipe.judge.test_examples < gate.minimum_examples:
        yield (
            f"judge.test_examples ({recipe.judge.test_examples}) is below gate.minimum_examples ({gate.minimum_examples}): raise "
            f"judge.test_examples to {gate.minimum_examples}"
        )
    if expected < gate.minimum_examples:
        yield (
            f"the smallest set has about {expected} test examples (split.minimum_examples {recipe.split.minimum_examples} × "
            f"split.test_fraction {recipe.split.test_fraction:g}), and gate.minimum_examples is {gate.minimum_examples}: "
            f"{_raise_set(recipe, gate.minimum_examples)}"
        )
    if "safety" in gate.requires and recipe.planted_secrets is None:
        yield "gate.requires names safety, and planted_secrets is missing: add planted_secrets, or set its enabled to false"


def _raise_set(recipe: Recipe, test_examples: int) -> str:
    if not recipe.split.test_fraction > 0:
        return "raise split.test_fraction above 0"
    enough = ceil(test_examples / recipe.split.test_fraction - 1e-9)
    return f"raise split.minimum_examples to {enough}, or split.test_fraction"


def _task_obstacles(recipe: Recipe, examples: int) -> Iterator[str]:
    tested = _tested_tasks(recipe)
    needed = len(tested) * recipe.gate.minimum_group_examples
    if examples < needed:
        lever = (
            f"raise judge.test_examples to {needed}"
            if recipe.judge.test_examples < needed
            else _raise_set(recipe, needed)
        )
        yield (
            f"each of {len(tested)} tasks needs {recipe.gate.minimum_group_examples} test examples "
            f"(gate.minimum_group_examples), and about {examples} are asked: {lever}"
        )


def _tested_tasks(recipe: Recipe) -> list[str]:
    return [task.name for task in recipe.tasks if task.name not in recipe.gate.untested_tasks]


def _level_obstacles(recipe: Recipe, level: float) -> Iterator[str]:
    examples = recipe.judge.test_examples
    # A draw without any subject, one in 2^examples, counts against the candidate.
    smallest = ALPHA / tail_level(examples) * (1 + DRAWS * 0.5**examples) / (DRAWS + 1)
    if level < smallest:
        yield (
            f"gate.yearly_false_promotions ({recipe.gate.yearly_false_promotions:g}) over gate.verdicts_per_year "
            f"({recipe.gate.verdicts_per_year}) asks for a smaller p-value than judge.test_examples ({examples}) can give "
            f"({smallest:.1g}): raise judge.test_examples, or lower gate.verdicts_per_year"
        )


def _item_obstacles(recipe: Recipe) -> Iterator[str]:
    """Tests of passed items that are too few for their limit, whatever the candidate does."""
    gate, judge = recipe.gate, recipe.judge
    if gate.regression_evidence != "interval":
        return
    limits = {"gate.maximum_ability_loss": gate.maximum_ability_loss}
    limits |= {f"gate.ability_budgets.{name}": limit for name, limit in gate.ability_budgets.items()}
    for field, limit in limits.items():
        yield from _too_few_items("judge.ability_items", judge.ability_items, field, limit)
    field, limit = "gate.maximum_robustness_loss", gate.maximum_robustness_loss
    yield from _too_few_items("judge.robustness_items", judge.robustness_items, field, limit)
    needed = items_that_show(limit)
    if needed is not None and judge.robustness_items >= needed > _expected_test_examples(recipe):
        yield f"{field} ({limit:g}) needs {needed} test examples: {_raise_set(recipe, needed)}"


def _too_few_items(items_field: str, items: int, limit_field: str, limit: float) -> Iterator[str]:
    needed = items_that_show(limit)
    if needed is None:
        yield f"no number of items shows that nothing is lost ({limit_field} 0): raise {limit_field}"
    elif items < needed:
        yield (
            f"{items_field} ({items}) is too low for {limit_field} ({limit:g}), which needs {needed} items even if all pass: "
            f"raise {items_field} to {needed}"
        )


def _group_obstacles(recipe: Recipe, examples: int, gain: float) -> Iterator[str]:
    """Tasks and groups whose interval is too wide even for a candidate that gains as much in each of them as in all."""
    gate = recipe.gate
    smallest = {"task": examples // max(1, len(_tested_tasks(recipe)))}
    if gate.regression_evidence == "interval":
        smallest["subgroup"] = gate.minimum_group_examples
    for kind, size in smallest.items():
        width = NormalDist().inv_cdf(1 - tail_level(size)) * GRADE_SPREAD / sqrt(max(1, size))
        if gain - width <= -gate.maximum_group_loss:
            yield (
                f"a {kind} of {size} examples has an interval of ± {width:.1f} points, too wide for gate.maximum_group_loss "
                f"({gate.maximum_group_loss:g}): raise gate.minimum_group_examples or gate.maximum_group_loss"
            )
