"""How a step's rows come to several ranks."""

from collections import Counter

import pytest

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.training.lora.batches import Batching, FilledSteps, LengthBatches, share_out


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("batching", [Batching("never", 4, 4), Batching("never", 2, 1), Batching("bfd", 1, 3)])
@pytest.mark.parametrize("rows", [1, 2, 15, 16, 17, 50])
def test_each_row_is_learned_once_in_the_step_that_it_belongs_to(ranks: int, batching: Batching, rows: int) -> None:
    """A row that fills up a step would be learned twice, and one that does not fit left out."""
    order = LengthBatches([10 + n % 7 for n in range(rows)], batching.rows_per_step, seed=1)
    shared = share_out(batching, ranks)
    filled = FilledSteps(order, batching.rows_per_step, shared.rows_per_pass * ranks, blank=rows)
    given = list(filled)
    assert len(given) == len(filled)
    assert {row: n for row, n in Counter(given).items() if row != rows} == dict.fromkeys(range(rows), 1)
    slots = shared.rows_per_step * ranks
    steps = [given[start : start + slots] for start in range(0, len(given), slots)]
    alone = list(order)
    assert [row for step in steps for row in step if row != rows] == alone
    for number, step in enumerate(steps):
        expected = alone[number * batching.rows_per_step :][: batching.rows_per_step]
        assert [row for row in step if row != rows] == expected
        assert len(step) % (shared.rows_per_pass * ranks) == 0


def test_one_rank_takes_all_as_before() -> None:
    """Weights that were trained before must come out the same."""
    assert share_out(Batching("never", 4, 3), 1) == Batching("never", 4, 3)


def test_no_rank_holds_more_rows_at_once_than_the_recipe_allows() -> None:
    """What fits into one GPU's memory was decided for the batch size."""
    for ranks in (2, 3, 5, 16):
        assert share_out(Batching("never", 4, 4), ranks).rows_per_pass <= 4


@pytest.mark.slow
def test_a_model_that_was_not_sharded_is_not_trained() -> None:
    """accelerate falls back to whole copies without a word on a machine without accelerators."""
    import torch

    from fine_tune_assets.training.lora.ranks import require_sharded

    with pytest.raises(FineTuneError, match=r"2 weights are not sharded \(weight is the first\)"):
        require_sharded(torch.nn.Linear(2, 2))
