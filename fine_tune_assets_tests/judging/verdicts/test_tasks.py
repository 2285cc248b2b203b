"""Each task of the recipe decides on its own: a gain on one never pays for a loss on another, and an untested one holds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.judging.verdicts.promotion_rule import GateResult, decide_promotion
from fine_tune_assets.recipes.schema import GateSettings
from fine_tune_assets_tests.judging.verdict_inputs import GATE, GOOD_TABLES, STRICT, evidence, gains, graded

ACCEPTING = replace(GATE, untested_tasks={"other": "Its reports come next year."})
BETTER = [2.0 + (i % 5) / 4 for i in range(60)]


def _decided(tasks: Mapping[str, Sequence[float]], gate: GateSettings = GATE) -> GateResult:
    """`tasks`: task → differences of its examples."""
    differences = [value for values in tasks.values() for value in values]
    grades, ids, start = gains(differences, 5.0), {}, 0
    for task, values in tasks.items():
        ids[task] = sorted(grades)[start : start + len(values)]
        start += len(values)
    tables = replace(GOOD_TABLES, judge_scores=graded(grades))
    return decide_promotion(evidence(tables, gate, tasks=ids), gate)


def test_tasks_that_are_better_or_no_worse_promote() -> None:
    """The cases below are meaningless if two tasks can never pass."""
    decided = _decided({"one": BETTER, "other": [0.1, -0.1, 0.0] * 10})
    assert decided.decision == "promote", decided.reasons
    assert "one better" in decided.reasons[0]
    assert "other no worse" in decided.reasons[0]


@pytest.mark.parametrize("examples", [0, 1, 4, 19])
def test_a_task_with_too_few_examples_holds_and_is_named(examples: int) -> None:
    decided = _decided({"one": BETTER, "other": [0.5] * examples})
    assert decided.decision == "hold"
    assert any(
        "other was not tested" in reason and "gate.minimum_group_examples" in reason for reason in decided.reasons
    )


def test_a_recipe_can_accept_an_untested_task_with_a_reason_that_the_verdict_repeats() -> None:
    for differences in ([], [0.5] * 4):
        decided = _decided({"one": BETTER, "other": differences}, ACCEPTING)
        assert decided.decision == "promote"
        assert any("Its reports come next year." in reason for reason in decided.reasons)


def test_an_accepted_task_with_a_measured_loss_still_closes_the_gate() -> None:
    """The recipe accepts missing evidence, never evidence of a loss."""
    assert _decided({"one": BETTER, "other": [-4.0, -3.9, -3.0, 0.1]}, ACCEPTING).decision == "hold"
    assert _decided({"one": BETTER, "other": [-3.0, -3.5, -2.5] * 4}, ACCEPTING).decision == "refuse"


def test_an_accepted_task_whose_mean_fell_closes_the_gate_even_without_an_interval() -> None:
    """Fewer than seven subjects give no interval, and the limit of the recipe may be wide."""
    wide = replace(ACCEPTING, maximum_group_loss=8.0)
    for gate in (ACCEPTING, wide):
        assert _decided({"one": BETTER, "other": [-0.9] * 6}, gate).decision == "hold"
    assert _decided({"one": BETTER, "other": [-4.0] * 6}, wide).decision == "hold"


@pytest.mark.parametrize("task", ["other", "correction"])
def test_a_small_task_without_a_single_grade_holds(task: str) -> None:
    """The judge may fail on exactly the answers that are bad. `correction` is no task of the recipe."""
    grades = {**gains(BETTER * 3, 5.0), **{f"x{i}": (None, 5.0) for i in range(8)}}
    ids = {"one": sorted(grades)[:-8], task: sorted(grades)[-8:]}
    tables = replace(GOOD_TABLES, judge_scores=graded(grades))
    made = replace(evidence(tables, ACCEPTING, tasks=ids), tasks=("one", "other"))
    assert decide_promotion(made, ACCEPTING).decision == "hold"


def test_acceptance_does_not_cover_a_task_with_enough_examples() -> None:
    """Enough examples that tell nothing are another thing than too few."""
    decided = _decided({"one": BETTER * 2, "other": [4.0, -4.0, 0.0] * 8}, ACCEPTING)
    assert decided.decision == "hold"
    assert any("the interval includes a loss beyond the limit" in reason for reason in decided.reasons)


@pytest.mark.parametrize("examples", [8, 30])
def test_a_task_that_got_slightly_worse_never_promotes(examples: int) -> None:
    """Its loss is within the limit of one point, but clear: the interval lies below zero."""
    decided = _decided({"one": BETTER, "other": [-0.4, -0.5, -0.6, -0.5][:4] * (examples // 4)})
    assert decided.decision == "hold"
    assert any("Worse on the task other" in reason for reason in decided.reasons)


@given(
    perfect=st.integers(0, 120),
    destroyed=st.integers(0, 60),
    gate=st.sampled_from(
        [
            GATE,
            STRICT,
            ACCEPTING,
            *(replace(one, maximum_group_loss=8.0, minimum_group_examples=7) for one in (GATE, ACCEPTING)),
        ]
    ),
    spread=st.floats(0, 0.5),
)
@settings(max_examples=60, deadline=None)
def test_a_candidate_that_is_perfect_on_one_task_and_destroyed_on_another_never_promotes(
    perfect: int, destroyed: int, gate: GateSettings, spread: float
) -> None:
    """For any counts. A task without a single example can be accepted, since nothing about it was measured."""
    tasks: dict[str, Any] = {
        "one": [5.0 - spread * (i % 3) for i in range(perfect)],
        "other": [-4.0 + spread * (i % 3) for i in range(destroyed)],
    }
    if not perfect + destroyed:
        return
    decided = _decided(tasks, gate)
    is_accepted = bool(gate.untested_tasks) and not destroyed
    assert is_accepted or decided.decision != "promote"
