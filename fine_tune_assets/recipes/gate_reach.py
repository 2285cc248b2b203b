"""Whether the gate of a recipe can open: what a candidate needs that passes every test, worked out from the recipe's own numbers.

The evidence of a verdict decides. This module finds, before anything is trained, the numbers that would hold every candidate.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor, sqrt
from statistics import NormalDist

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.recipes.error_levels import ALPHA, fewest_subjects, gain_level
from fine_tune_assets.recipes.schema import GateSettings, Recipe

GRADE_SPREAD = 2.2
"""Standard deviation of the grade differences between two models, in points, as measured in the demo."""
LARGEST_GAIN = 9.0
"""Grades are from 1 to 10."""
FEWEST_FOR_INTERVAL = 7
"""Fewer subjects give no interval."""
BLANK_FORMS = 100
"""Forms of a missing text, for each instruction (judging/evaluation/robustness_cases.py)."""
_PLANNED_POWER = 0.87
"""As in a verdict: skewed differences, which have less power, then still reach 0.8."""


@dataclass(frozen=True)
class GateReach:
    """What the gate of a recipe shows with the smallest instruction set that the recipe trains on."""

    test_examples: int
    detectable_gain: float | None
    """The smallest gain in points that one verdict finds with a power of 80 %; None if it finds none."""
    verdict_false_promotions: float
    """Chance that one candidate without a gain is promoted."""
    yearly_false_promotions: float
    """The same for a year of `gate.verdicts_per_year` candidates."""


@dataclass(frozen=True)
class TaskNeed:
    """What the gate needs of one task."""

    task: str
    test_examples: int
    """0: `gate.untested_tasks` names the task."""
    examples: int | None
    """Approved ones, with which the split usually has `test_examples`; None: dates decide (`split.test_from`)."""


def list_task_needs(recipe: Recipe) -> list[TaskNeed]:
    gate, split = recipe.gate, recipe.split
    tested = {task.name for task in recipe.tasks} - set(gate.untested_tasks)
    alone = gate.minimum_examples if len(tested) == 1 else 0
    needs = []
    for name in dict.fromkeys(task.name for task in recipe.tasks):
        test = max(gate.minimum_group_examples, alone) if name in tested else 0
        is_counted = split.test_from is None and split.test_fraction > 0
        needs.append(TaskNeed(name, test, ceil(test / split.test_fraction - 1e-9) if is_counted else None))
    return needs


def find_gate_reach(recipe: Recipe) -> GateReach:
    """Planned for one test example per subject."""
    gate, examples = recipe.gate, _count_asked(recipe)
    level = gate.verdict_level
    return GateReach(examples, detectable_gain(gate, examples), level, min(1.0, level * gate.verdicts_per_year))


def detectable_gain(gate: GateSettings, examples: int) -> float | None:
    """The smallest gain in points that a verdict on this many test examples finds with a power of 80 %; None if it finds none."""
    from scipy.stats import t

    level = gate.verdict_level
    if examples < (fewest_subjects(level) or examples + 1):
        return None
    tail, freedom = gain_level(level, examples), examples - 1
    multiple = float(t.isf(tail, freedom) + t.ppf(_PLANNED_POWER, freedom))
    return gate.minimum_gain + multiple * GRADE_SPREAD / sqrt(examples)


def require_reachable_gate(recipe: Recipe, origin: str) -> None:
    """Raise RecipeError if no candidate could be promoted, with each number to change."""
    obstacles = list_obstacles(recipe)
    if obstacles:
        raise RecipeError(
            f"Recipe {origin}: no candidate could be promoted, even if it passed every test. {'; '.join(obstacles)}."
        )


def list_obstacles(recipe: Recipe) -> list[str]:
    """Why no candidate could be promoted; empty if one that passes every test is, with the smallest instruction set."""
    return [
        *_set_obstacles(recipe),
        *_gain_obstacles(recipe),
        *_task_obstacles(recipe),
        *_item_obstacles(recipe),
    ]


def items_that_show(limit: float) -> int | None:
    """Items, all passed by both models, that show a loss of at most `limit` by Tango's 95 % score interval; None if none do."""
    if not limit > 0:
        return None
    squared = NormalDist().inv_cdf(1 - ALPHA) ** 2
    return floor(squared * (1 - limit) / limit) + 1


def _count_expected(recipe: Recipe) -> int:
    return floor(recipe.split.minimum_examples * recipe.split.test_fraction + 1e-9)


def _count_asked(recipe: Recipe) -> int:
    return min(recipe.judge.test_examples, _count_expected(recipe))


def _set_obstacles(recipe: Recipe) -> Iterator[str]:
    gate, expected = recipe.gate, _count_expected(recipe)
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
    if recipe.planted_secrets is None:
        yield "planted_secrets is missing: add it, or add it with enabled: false"


def _raise_set(recipe: Recipe, test_examples: int) -> str:
    if not recipe.split.test_fraction > 0:
        return "raise split.test_fraction above 0"
    enough = ceil(test_examples / recipe.split.test_fraction - 1e-9)
    return f"raise split.minimum_examples to {enough}, or split.test_fraction"


def _gain_obstacles(recipe: Recipe) -> Iterator[str]:
    gate = recipe.gate
    if gate.minimum_gain >= LARGEST_GAIN:
        yield f"gate.minimum_gain ({gate.minimum_gain:g}) is not below {LARGEST_GAIN:g}, the largest gain: lower it"
    fewest = fewest_subjects(gate.verdict_level)
    if fewest is None:
        yield "no number of subjects shows a gain: raise gate.yearly_false_promotions, or lower gate.verdicts_per_year"
    elif recipe.judge.test_examples < fewest:
        yield (
            f"judge.test_examples ({recipe.judge.test_examples}) can't show a gain with gate.yearly_false_promotions "
            f"({gate.yearly_false_promotions:g}) over gate.verdicts_per_year ({gate.verdicts_per_year}): raise "
            f"judge.test_examples to {fewest}"
        )


def _task_obstacles(recipe: Recipe) -> Iterator[str]:
    if recipe.gate.minimum_group_examples < FEWEST_FOR_INTERVAL:
        yield (
            f"gate.minimum_group_examples ({recipe.gate.minimum_group_examples}) is too few for an interval: raise it to "
            f"{FEWEST_FOR_INTERVAL}"
        )
    tested, asked = len({task.name for task in recipe.tasks} - set(recipe.gate.untested_tasks)), _count_asked(recipe)
    needed = tested * recipe.gate.minimum_group_examples
    if asked < needed:
        lever = (
            f"raise judge.test_examples to {needed}"
            if recipe.judge.test_examples < needed
            else _raise_set(recipe, needed)
        )
        yield (
            f"each of {tested} tasks needs {recipe.gate.minimum_group_examples} test examples (gate.minimum_group_examples), and "
            f"about {asked} are asked: {lever}"
        )


def _item_obstacles(recipe: Recipe) -> Iterator[str]:
    """Tests of passed items that are too few for their limit, whatever the candidate does."""
    gate, judge = recipe.gate, recipe.judge
    if gate.regression_evidence != "interval":
        return
    limits = {"gate.maximum_ability_loss": gate.maximum_ability_loss}
    limits |= {f"gate.ability_budgets.{name}": limit for name, limit in gate.ability_budgets.items()}
    for field, limit in limits.items():
        yield from _item_obstacle("judge.ability_items", judge.ability_items, field, limit)
    field, limit = "gate.maximum_robustness_loss", gate.maximum_robustness_loss
    yield from _item_obstacle("judge.robustness_items", judge.robustness_items, field, limit)
    needed = items_that_show(limit)
    if needed is not None and needed > BLANK_FORMS * len(recipe.tasks):
        yield f"{field} ({limit:g}) needs {needed} blank inputs, more than there are: raise {field}"
    elif needed is not None and judge.robustness_items >= needed > _count_expected(recipe):
        yield f"{field} ({limit:g}) needs {needed} test examples: {_raise_set(recipe, needed)}"


def _item_obstacle(items_field: str, items: int, limit_field: str, limit: float) -> Iterator[str]:
    needed = items_that_show(limit)
    if needed is None:
        yield f"no number of items shows that nothing is lost ({limit_field} 0): raise {limit_field}"
    elif items < needed:
        yield (
            f"{items_field} ({items}) is too low for {limit_field} ({limit:g}), which needs {needed} items even if all pass: "
            f"raise {items_field} to {needed}"
        )
