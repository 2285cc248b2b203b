"""What is chosen from how much a step holds: the batch that fits, what to change where nothing fits, and the gate."""

from dataclasses import replace
from typing import Any

import pytest

from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.tables.training import TrainingPlan
from fine_tune_assets.training.planning.resource_plan import (
    Lengths,
    Machine,
    PlanError,
    Planner,
    Shape,
    advice,
    changes_in_words,
    is_as_planned,
    plan_row,
    require_plan,
    splits,
)
from fine_tune_assets.training.planning.shapes import Pass, StepMemory
from fine_tune_assets_tests.training import tiny

SETTINGS = replace(
    tiny.SETTINGS, rank=4, alpha=8, learning_rate=1e-4, batch_size=4, gradient_accumulation=2, max_length=100
)
LENGTHS = Lengths(tokens=(10, 20, 40, 80, 100, 400), learned=(1, 2, 4, 8, 10, 40))
BOUND = {"instruction_set_fingerprint": "s", "base_fingerprint": "b", "training_fingerprint": "t"}


def _memory(settings: TrainingSettings, one: Pass) -> StepMemory:
    """A model of 1,000 bytes that keeps 10 bytes a token, 2 when it computes again; a quarter in 4 bits."""
    kept = 2 if settings.gradient_checkpointing else 10
    return StepMemory(250 if settings.method == "qlora" else 1000, 5, 5, 10, kept * one.rows * one.tokens)


def _shape(settings: TrainingSettings, lengths: Lengths) -> Shape:
    return Shape(Pass(settings.batch_size, max(lengths.tokens), sum(lengths.learned)), "never", 3)


def _planner(memory: int, is_gpu: bool = False) -> Planner:
    return Planner(Machine("a machine", is_gpu, memory, 100), LENGTHS, _memory, _shape)


def _nearest(memory: int) -> tuple[str, int]:
    plan = _planner(memory).nearest(SETTINGS)
    assert plan is not None
    assert plan.fits
    return changes_in_words(SETTINGS, plan.settings), plan.left_out


def test_the_peak_is_the_sum_of_what_lives_at_once() -> None:
    """Libraries, the model, its adapter with gradients and optimiser, and the largest pass of what is not too long."""
    plan = _planner(10_000).plan(SETTINGS)
    assert plan.peak_bytes == 100 + 1000 + 5 + 5 + 10 + 10 * 4 * 100
    assert (plan.left_out, plan.fits, plan.disk_bytes) == (1, True, 50)


@pytest.mark.parametrize(
    ("memory", "changes", "left_out"),
    [
        (4000, "batch_size: 2, gradient_accumulation: 4", 1),
        (2200, "batch_size: 1, gradient_accumulation: 8", 1),
        (2000, "gradient_checkpointing: true", 1),
        (1400, "batch_size: 1, gradient_accumulation: 8, gradient_checkpointing: true", 1),
        (1200, "gradient_checkpointing: true, method: qlora", 1),
        (600, "batch_size: 1, gradient_accumulation: 8, gradient_checkpointing: true, method: qlora", 1),
        (
            460,
            "batch_size: 1, gradient_accumulation: 8, gradient_checkpointing: true, method: qlora, max_length: 40, "
            "too_long: leave_out",
            3,
        ),
    ],
)
def test_the_nearest_plan_changes_as_little_as_it_can(memory: int, changes: str, left_out: int) -> None:
    """The same step in smaller passes costs nothing but time; shorter examples cost what they would have taught, so they come
    last."""
    assert _nearest(memory) == (changes, left_out)


def test_nothing_fits_where_the_model_alone_does_not() -> None:
    """An invented way out would fail at night."""
    assert _planner(300).nearest(SETTINGS) is None
    assert "use a machine with more" in advice(None)


def test_a_step_is_split_into_equal_passes_only() -> None:
    """Seven examples a step in passes of two would leave out one, or learn from eight."""
    found = [(s.batch_size, s.gradient_accumulation) for s in splits(replace(SETTINGS, gradient_accumulation=3))]
    assert found == [(12, 1), (6, 2), (4, 3), (3, 4), (2, 6), (1, 12)]


@pytest.mark.parametrize(("memory", "batch", "passes"), [(10_000, 8, 1), (6000, 4, 2), (2200, 1, 8), (10, 4, 2)])
def test_fit_batch_size_takes_the_largest_batch_of_the_same_step(memory: int, batch: int, passes: int) -> None:
    """What is learned from stays the same. Where none fits the recipe's own is told, so that the refusal is about that."""
    plan = _planner(memory).chosen(replace(SETTINGS, fit_batch_size=True))
    assert (plan.settings.batch_size, plan.settings.gradient_accumulation) == (batch, passes)
    assert plan.fits == (memory > 10)


def test_a_recipe_without_it_is_taken_as_it_is_written() -> None:
    """Other batches give other weights: nobody changes them silently."""
    assert _planner(10_000).chosen(SETTINGS).settings == SETTINGS


def test_processes_without_gpus_share_the_memory_of_the_machine() -> None:
    """Two that each take all of it would be killed; on GPUs each has its own."""
    two = replace(SETTINGS, processes=2)
    assert [_planner(6000, is_gpu).plan(two).limit_bytes for is_gpu in (False, True)] == [3000, 6000]


def test_a_sharded_model_is_held_in_parts_but_for_what_is_put_together() -> None:
    """Two layers and what is in none are whole in each process while they compute."""
    whole = StepMemory(weights=1000, adapter=10, gradients=10, optimizer=20, activations=7, layer=100, root=50)
    part = whole.shard(4, loads_whole=False)
    assert (part.weights, part.adapter, part.optimizer, part.activations) == (250 + 200 + 50, 2, 5, 7)
    assert part.total == 500 + 2 + 2 + 5 + 7
    # Where it is loaded as a whole before it is cut up, that is the most.
    assert whole.shard(4, loads_whole=True).total == 1000


def _row(memory: int, free_disk: int = 1000, **changes: Any) -> TrainingPlan:
    planner = _planner(memory)
    plan = planner.plan(SETTINGS)
    row = plan_row(plan, planner.nearest(SETTINGS), Machine("a machine", False, memory, 100), free_disk, None)
    return TrainingPlan.of({**row, **BOUND, **changes})


def test_training_starts_with_the_plan_of_exactly_this_that_fits() -> None:
    """The open gate, without which the closed ones would say nothing."""
    assert require_plan([_row(10_000)], 0, **BOUND).batch_size == 4


@pytest.mark.parametrize(
    ("plans", "reason"),
    [
        ([], "No training plan"),
        ([_row(10_000, base_fingerprint="other")], "of another base"),
        ([_row(4000)], "set batch_size: 2, gradient_accumulation: 4"),
        ([_row(10_000, free_disk=3)], r"of the disk are free\. Make room on the disk"),
        ([_row(10_000, machine="a GPU of 80 GiB")], "where nothing is trained now"),
        ([_row(300)], "No smaller batch"),
    ],
)
def test_the_gate_closes_without_a_plan_that_fits(plans: list[TrainingPlan], reason: str) -> None:
    """A GPU hour that ends in out of memory could have been refused before."""
    with pytest.raises(PlanError, match=reason):
        require_plan(plans, 0, **BOUND)


def test_a_plan_is_right_within_fifteen_percent_either_way() -> None:
    """Planned too high it refuses what would fit; too low it fails at night."""
    found = [is_as_planned(100, measured) for measured in (84, 86, 114, 116)]
    assert found == [False, True, True, False]


def test_the_plan_of_a_card_elsewhere_opens_the_gate_for_that_card_only() -> None:
    """Who moves the training to a smaller card has to plan again."""
    plan = _row(10_000, machine="a GPU of 80 GiB")
    assert require_plan([plan], 80, **BOUND) == plan
    for elsewhere in (24, 0):
        with pytest.raises(PlanError, match="fine-tune materialize training_plans"):
            require_plan([plan], elsewhere, **BOUND)
    with pytest.raises(PlanError, match="a machine, where nothing is trained now"):
        require_plan([_row(10_000)], 80, **BOUND)


def test_checkpoints_of_a_sharded_training_are_whole() -> None:
    """Two processes hold half of the adapter each, and the disk holds all of it."""
    plans = [_planner(10_000).plan(replace(SETTINGS, processes=2, sharding=kind)) for kind in ("none", "fsdp2")]
    assert [plan.disk_bytes for plan in plans] == [50, 100]


def test_a_limit_that_leaves_nothing_is_said() -> None:
    """A plan of no example would fit anywhere."""
    with pytest.raises(PlanError, match=r"No example fits into training\.max_length"):
        _planner(10_000).plan(replace(SETTINGS, max_length=5))
