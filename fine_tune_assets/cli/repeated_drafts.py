"""Drafts that nearly repeat one of another split, which an instruction set leaves out: counted before anybody reviews.

Compares words only; the instruction set also compares meaning, so it may leave out more.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from fine_tune_assets.approval.task_kinds import UncheckedDraft
from fine_tune_assets.cli.recipe_problems import list_distinct
from fine_tune_assets.dedup.cross_group_pairs import pair_finder
from fine_tune_assets.instructions.leakage import ComparedRow, LeakSearch, find_leaks, resolve_leaks
from fine_tune_assets.instructions.splits import PRECEDENCE, SplitRule
from fine_tune_assets.recipes.schema import ModelTask, Recipe, RowTask

_THRESHOLDS = (0.5, 0.6, 0.7, 0.8)
"""Values of `dedup.near_threshold` that `choose_threshold` tries. From 0.9 on, only copies would be found."""
_NOTED_SHARE = 0.1
"""Of the drafts; fewer repeated drafts are not mentioned."""


def choose_threshold(recipe: Recipe, drafts: Iterable[UncheckedDraft]) -> float:
    """The first threshold from the recipe's own on with which enough drafts remain for the gate; else its own."""
    distinct, own = list_distinct(drafts), recipe.dedup.near_threshold
    needed = recipe.split.minimum_examples
    if len(distinct) < needed:
        return own  # another problem
    for threshold in (own, *(one for one in _THRESHOLDS if one > own)):
        if len(distinct) - _count_repeated(recipe, distinct, threshold) >= needed:
            return threshold
    return own


def describe_repeated_drafts(recipe: Recipe, drafts: Iterable[UncheckedDraft]) -> Iterator[str]:
    """A note if many drafts are repeated but enough remain."""
    distinct, repeated = _compare(recipe, drafts)
    if repeated > _NOTED_SHARE * distinct and distinct - repeated >= recipe.split.minimum_examples:
        yield _describe(recipe, distinct, repeated)


def find_repeated_drafts(recipe: Recipe, drafts: Iterable[UncheckedDraft]) -> Iterator[str]:
    """A problem if fewer drafts remain than the gate needs, although there are enough drafts."""
    distinct, repeated = _compare(recipe, drafts)
    if repeated and distinct - repeated < recipe.split.minimum_examples <= distinct:
        yield (
            f"{_describe(recipe, distinct, repeated)} {distinct - repeated} remain, and {recipe.split.minimum_examples} approved "
            "examples are required (split.minimum_examples)."
        )


def _describe(recipe: Recipe, distinct: int, repeated: int) -> str:
    return (
        f"dedup.near_threshold: {repeated} of {distinct} drafts share at least {recipe.dedup.near_threshold:.0%} of their word "
        "sequences with a draft of another split, so the instruction set leaves them out. A higher value keeps more of them; "
        "answers of the test split are then more alike to what was trained."
    )


def _compare(recipe: Recipe, drafts: Iterable[UncheckedDraft]) -> tuple[int, int]:
    """Different drafts, and how many of them are repeated. With dates or a model deciding, the drafts are not known yet."""
    if recipe.split.test_from is not None or any(isinstance(task, ModelTask | RowTask) for task in recipe.tasks):
        return 0, 0
    distinct = list_distinct(drafts)
    return len(distinct), _count_repeated(recipe, distinct, recipe.dedup.near_threshold)


def _count_repeated(recipe: Recipe, drafts: Sequence[UncheckedDraft], threshold: float) -> int:
    rule = SplitRule(recipe.split)
    rows = [
        ComparedRow(str(number), rule.assign(draft.subject_key), draft.input, f"{draft.input}\n{draft.output}")
        for number, draft in enumerate(drafts)
    ]
    order = [row for split in PRECEDENCE for row in rows if row.group == split]
    find = pair_finder(replace(recipe.dedup, near_threshold=threshold), None, ignore_boilerplate=False)
    leaks = find_leaks(order, LeakSearch(find, find, ("exact", "near"), "", evaluation=()))
    return len(resolve_leaks(leaks, [row.row_id for row in order]))
