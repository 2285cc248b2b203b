"""Decisions from the memory of a step: the batch that fits, the suggested change, and the gate."""

from dataclasses import replace
from typing import Any

import pytest

from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.tables.training_rows import TrainingPlan
from fine_tune_assets.training.planning.resource_plan import (
    BatchShape,
    Lengths,
    Machine,
    PlanError,
    Planner,
    batch_options,
    describe_changes,
    is_within_tolerance,
    make_plan_row,
    require_plan,
    suggest_fix,
)
from fine_tune_assets.training.planning.shapes import Pass, StepMemory
from fine_tune_assets_tests.training import tiny_training

SETTINGS = replace(
    tiny_training.SETTINGS, rank=4, alpha=8, learning_rate=1e-4, batch_size=4, gradient_accumulation=2, max_length=100
)
LENGTHS = Lengths(tokens=(10, 20, 40, 80, 100, 400), supervised=(1, 2, 4, 8, 10, 40))
BOUND = {"instruction_set_fingerprint": "s", "base_fingerprint": "b", "training_fingerprint": "t"}


def _memory(settings: TrainingSettings, one: Pass) -> StepMemory:
    """A model of 1,000 bytes, a quarter in 4 bits, with 10 bytes per token, or 2 with gradient checkpointing."""
    bytes_per_token = 2 if settings.gradient_checkpointing else 10
    return StepMemory(250 if settings.method == "qlora" else 1000, 5, 5, 10, bytes_per_token * one.rows * one.tokens)


def _shape(settings: TrainingSettings, lengths: Lengths) -> BatchShape:
    return BatchShape(Pass(settings.batch_size, max(lengths.tokens), sum(lengths.supervised)), "never", 3)


def _planner(memory: int, is_gpu: bool = False) -> Planner:
    return Planner(Machine("a machine", is_gpu, memory, 100), LENGTHS, _memory, _shape)


def _nearest(memory: int) -> tuple[str, int]:
    plan = _planner(memory).find_nearest(SETTINGS)
    assert plan is not None
    assert plan.fits
    return describe_changes(SETTINGS, plan.settings), plan.excluded_examples


def test_the_peak_is_the_sum_of_all_parts() -> None:
    """Libraries, the model, the adapter with gradients and optimizer, and the largest pass within max_length."""
    plan = _planner(10_000).plan(SETTINGS)
    assert plan.peak_bytes == 100 + 1000 + 5 + 5 + 10 + 10 * 4 * 100
    assert (plan.excluded_examples, plan.fits, plan.disk_bytes) == (1, True, 50)


@pytest.mark.parametrize(
    ("memory", "changes", "excluded"),
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
            "overlong_examples: exclude",
            3,
        ),
    ],
)
def test_the_nearest_plan_makes_the_smallest_change(memory: int, changes: str, excluded: int) -> None:
    """Splitting a step into smaller passes only takes time; shorter examples lose training data, so they come last."""
    assert _nearest(memory) == (changes, excluded)


def test_nothing_fits_if_the_model_alone_does_not() -> None:
    """A wrong suggestion would fail at night."""
    assert _planner(300).find_nearest(SETTINGS) is None
    assert "machine" in suggest_fix(None)


def test_a_step_is_split_into_equal_passes_only() -> None:
    """Seven examples per step in passes of two would skip one, or use eight."""
    found = [(s.batch_size, s.gradient_accumulation) for s in batch_options(replace(SETTINGS, gradient_accumulation=3))]
    assert found == [(12, 1), (6, 2), (4, 3), (3, 4), (2, 6), (1, 12)]


@pytest.mark.parametrize(("memory", "batch", "passes"), [(10_000, 8, 1), (6000, 4, 2), (2200, 1, 8), (10, 4, 2)])
def test_fit_batch_size_takes_the_largest_batch_of_the_same_step(memory: int, batch: int, passes: int) -> None:
    """The training data stays the same. If none fits, the recipe's own batch is planned, and the refusal is about that."""
    plan = _planner(memory).plan_recipe(replace(SETTINGS, fit_batch_size=True))
    assert (plan.settings.batch_size, plan.settings.gradient_accumulation) == (batch, passes)
    assert plan.fits == (memory > 10)


def test_without_fit_batch_size_the_recipe_is_planned_unchanged() -> None:
    """Other batches give other weights, so they must not change silently."""
    assert _planner(10_000).plan_recipe(SETTINGS).settings == SETTINGS


def test_processes_without_gpus_share_the_machines_memory() -> None:
    """If two each used all of it, they would be killed; each GPU has its own memory."""
    two = replace(SETTINGS, processes=2)
    assert [_planner(6000, is_gpu).plan(two).limit_bytes for is_gpu in (False, True)] == [3000, 6000]


def test_a_sharded_model_is_held_in_parts_except_for_gathered_layers() -> None:
    """Each process gathers two layers and the weights outside layers while it computes."""
    whole = StepMemory(
        weights=1000, adapter=10, gradients=10, optimizer=20, activations=7, largest_layer=100, outside_layers=50
    )
    part = whole.shard(4, is_loaded_whole=False)
    assert (part.weights, part.adapter, part.optimizer, part.activations) == (250 + 200 + 50, 2, 5, 7)
    assert part.total == 500 + 2 + 2 + 5 + 7
    # If the complete model is loaded before sharding, that is the peak.
    assert whole.shard(4, is_loaded_whole=True).total == 1000


def _row(memory: int, free_disk: int = 1000, **changes: Any) -> TrainingPlan:
    planner = _planner(memory)
    plan = planner.plan(SETTINGS)
    row = make_plan_row(plan, planner.find_nearest(SETTINGS), Machine("a machine", False, memory, 100), free_disk)
    return TrainingPlan.from_row({**row, **BOUND, **changes})


def test_training_starts_with_a_matching_plan_that_fits() -> None:
    """Control for the closed gates below."""
    assert require_plan([_row(10_000)], 0, **BOUND).batch_size == 4


@pytest.mark.parametrize(
    ("plans", "reason"),
    [
        ([], "^No .*fine-tune materialize training_plans"),
        ([_row(10_000, base_fingerprint="other")], r"\bbase\b"),
        ([_row(4000)], "batch_size: 2, gradient_accumulation: 4"),
        ([_row(10_000, free_disk=3)], r"0\.00 GB .*\bdisk\b"),
        ([_row(10_000, machine="remote GPU, 80 GiB")], "remote GPU, 80 GiB"),
        ([_row(300)], "max_length"),
    ],
)
def test_the_gate_closes_without_a_plan_that_fits(plans: list[TrainingPlan], reason: str) -> None:
    """Running out of memory after an hour on a GPU can be refused in advance."""
    with pytest.raises(PlanError, match=reason):
        require_plan(plans, 0, **BOUND)


def test_a_plan_may_be_off_by_fifteen_percent_either_way() -> None:
    """A plan that is too high refuses trainings that fit; one that is too low lets them fail at night."""
    found = [is_within_tolerance(100, measured) for measured in (84, 86, 114, 116)]
    assert found == [False, True, True, False]


def test_the_plan_of_a_remote_gpu_opens_the_gate_for_that_gpu_only() -> None:
    """Moving the training to a smaller GPU needs a new plan."""
    plan = _row(10_000, machine="remote GPU, 80 GiB")
    assert require_plan([plan], 80, **BOUND) == plan
    for other_gpu in (24, 0):
        with pytest.raises(PlanError, match="fine-tune materialize training_plans"):
            require_plan([plan], other_gpu, **BOUND)
    with pytest.raises(PlanError, match="a machine"):
        require_plan([_row(10_000)], 80, **BOUND)


def test_checkpoints_of_a_sharded_training_are_not_sharded() -> None:
    """Two processes have half of the adapter each, but the disk has all of it."""
    plans = [_planner(10_000).plan(replace(SETTINGS, processes=2, sharding=kind)) for kind in ("none", "fsdp2")]
    assert [plan.disk_bytes for plan in plans] == [50, 100]


def test_a_max_length_below_every_example_is_refused() -> None:
    """A plan without examples would always fit."""
    with pytest.raises(PlanError, match=r"training\.max_length"):
        _planner(10_000).plan(replace(SETTINGS, max_length=5))
