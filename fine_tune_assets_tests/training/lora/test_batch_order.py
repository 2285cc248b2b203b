"""The order of examples is random but reproducible, and packing is chosen by cost."""

import pytest

from fine_tune_assets.training.lora.batch_order import (
    Batching,
    LengthSampler,
    attention_share,
    choose_batching,
    evaluation_batch_size,
    evaluation_steps,
)

LENGTHS = [(7 * n) % 90 + 10 for n in range(230)]


def _steps(order: LengthSampler, size: int) -> list[list[int]]:
    indices = list(order)
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def test_an_epoch_has_every_row_once_in_an_order_determined_by_seed_and_epoch() -> None:
    """A training resumed in the second epoch must see the same order."""
    order, again = LengthSampler(LENGTHS, 8, seed=1), LengthSampler(LENGTHS, 8, seed=1)
    first = list(order)
    assert sorted(first) == list(range(len(LENGTHS)))
    for epoch in (2, 1, 0):
        order.set_epoch(epoch)
        again.set_epoch(epoch)
        assert list(order) == list(again)
    assert list(order) == first
    order.set_epoch(1)
    assert list(order) != first
    assert list(LengthSampler(LENGTHS, 8, seed=2)) != first


def test_a_step_has_rows_of_similar_length_and_the_longest_step_comes_first() -> None:
    """Padding is wasted computation; and out of memory must occur at once."""
    steps = _steps(LengthSampler(LENGTHS, 8, seed=1), 8)
    padded = sum(len(step) * max(LENGTHS[i] for i in step) for step in steps)
    assert padded < 1.04 * sum(LENGTHS)
    assert max(LENGTHS) in [LENGTHS[i] for i in steps[0]]
    assert [len(step) for step in steps] == [8] * 28 + [6]


def test_packing_is_chosen_for_short_rows_in_single_batches_but_not_for_full_batches() -> None:
    """With full batches, packing saves nothing and costs attention; one short row at a time underuses the machine."""
    share = attention_share(hidden_size=576, layers=30, parameters=134_515_008)
    full = choose_batching("auto", [100] * 40, [1000] * 4, 8, 1, share)
    single = choose_batching("auto", [20] * 40, [200] * 4, 1, 8, share)
    assert (full.strategy, full.rows_per_step) == ("never", 8)
    assert single.strategy == "bfd"


@pytest.mark.parametrize(("setting", "rows", "passes"), [("bfd", 1, 2), ("never", 4, 5)])
def test_the_recipe_can_fix_the_packing_and_a_step_keeps_its_number_of_examples(
    setting: str, rows: int, passes: int
) -> None:
    """20 examples per step: two rows of ten, or five passes of four."""
    chosen = choose_batching(setting, [50] * 100, [500] * 10, 4, 5, 0.0001)  # type: ignore[arg-type]
    assert (chosen.strategy, chosen.rows_per_pass, chosen.passes_per_step) == (setting, rows, passes)


@pytest.mark.parametrize(("per_epoch", "expected"), [(1, [10, 20]), (2, [5, 10, 15, 20]), (30, list(range(1, 21)))])
def test_the_validation_loss_is_measured_evenly_and_at_the_end_of_each_epoch(
    per_epoch: int, expected: list[int]
) -> None:
    """The last weights of each epoch are a candidate for the best checkpoint."""
    assert evaluation_steps(10, 2, per_epoch) == expected


def test_an_evaluation_pass_has_no_more_tokens_than_a_packed_row() -> None:
    """Memory is planned for one packed row: four long examples at once might not fit."""
    packed, apart = Batching("bfd", 1, 4), Batching("never", 4, 1)
    assert evaluation_batch_size(packed, 4, [100, 500], row_tokens=1024) == 2
    assert evaluation_batch_size(packed, 4, [2000], row_tokens=1024) == 1
    assert evaluation_batch_size(packed, 4, [10, 20], row_tokens=1024) == 4
    assert evaluation_batch_size(apart, 4, [1000], row_tokens=1024) == 4
