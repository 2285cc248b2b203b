"""The order of examples is by chance and the same every time; what shares a row or a batch is counted, not guessed."""

import pytest

from fine_tune_assets.training.lora.batches import (
    Batching,
    LengthBatches,
    attention_share,
    choose_batching,
    evaluation_rows,
    evaluation_steps,
)

LENGTHS = [(7 * n) % 90 + 10 for n in range(230)]


def _steps(order: LengthBatches, size: int) -> list[list[int]]:
    indices = list(order)
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def test_an_epoch_has_every_row_once_and_its_order_depends_on_seed_and_epoch_alone() -> None:
    """A training that goes on in the second epoch must meet what it would have met."""
    order, again = LengthBatches(LENGTHS, 8, seed=1), LengthBatches(LENGTHS, 8, seed=1)
    first = list(order)
    assert sorted(first) == list(range(len(LENGTHS)))
    for epoch in (2, 1, 0):
        order.set_epoch(epoch)
        again.set_epoch(epoch)
        assert list(order) == list(again)
    assert list(order) == first
    order.set_epoch(1)
    assert list(order) != first
    assert list(LengthBatches(LENGTHS, 8, seed=2)) != first


def test_a_step_holds_rows_of_nearly_one_length_and_the_longest_comes_first() -> None:
    """Padding is computed for nothing; and what does not fit into memory must fail at once."""
    steps = _steps(LengthBatches(LENGTHS, 8, seed=1), 8)
    padded = sum(len(step) * max(LENGTHS[i] for i in step) for step in steps)
    assert padded < 1.04 * sum(LENGTHS)
    assert max(LENGTHS) in [LENGTHS[i] for i in steps[0]]
    assert [len(step) for step in steps] == [8] * 28 + [6]


def test_rows_of_one_length_are_not_packed_and_short_ones_of_single_batches_are() -> None:
    """With full batches packing saves nothing and attends to more; one short row at a time leaves the machine idle."""
    share = attention_share(hidden_size=576, layers=30, parameters=134_515_008)
    full = choose_batching("auto", [100] * 40, [1000] * 4, 8, 1, share)
    single = choose_batching("auto", [20] * 40, [200] * 4, 1, 8, share)
    assert (full.strategy, full.rows_per_step) == ("never", 8)
    assert single.strategy == "bfd"


@pytest.mark.parametrize(("setting", "rows", "passes"), [("bfd", 1, 2), ("never", 4, 5)])
def test_the_recipe_decides_if_it_says_so_and_a_step_learns_from_as_many_examples(
    setting: str, rows: int, passes: int
) -> None:
    """20 examples a step: two rows of ten, or five passes of four."""
    chosen = choose_batching(setting, [50] * 100, [500] * 10, 4, 5, 0.0001)  # type: ignore[arg-type]
    assert (chosen.strategy, chosen.rows_per_pass, chosen.passes_per_step) == (setting, rows, passes)


@pytest.mark.parametrize(("per_epoch", "wanted"), [(1, [10, 20]), (2, [5, 10, 15, 20]), (30, list(range(1, 21)))])
def test_the_validation_loss_is_measured_evenly_and_at_the_end_of_each_epoch(per_epoch: int, wanted: list[int]) -> None:
    """The last weights of an epoch are a candidate like any other."""
    assert evaluation_steps(10, 2, per_epoch) == wanted


def test_an_evaluation_holds_no_more_than_a_packed_row() -> None:
    """Memory was planned for one row at a time: four long examples at once would not fit where it did."""
    packed, apart = Batching("bfd", 1, 4), Batching("never", 4, 1)
    assert evaluation_rows(packed, 4, [100, 500], row_tokens=1024) == 2
    assert evaluation_rows(packed, 4, [2000], row_tokens=1024) == 1
    assert evaluation_rows(packed, 4, [10, 20], row_tokens=1024) == 4
    assert evaluation_rows(apart, 4, [1000], row_tokens=1024) == 4
