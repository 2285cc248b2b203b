"""How the rows of a step are distributed over several ranks."""

from collections import Counter

import pytest

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.training.lora.batch_order import Batching, LengthSampler, PaddedStepSampler, distribute_batching


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("batching", [Batching("never", 4, 4), Batching("never", 2, 1), Batching("bfd", 1, 3)])
@pytest.mark.parametrize("rows", [1, 2, 15, 16, 17, 50])
def test_each_row_is_used_once_in_its_step(ranks: int, batching: Batching, rows: int) -> None:
    """Padding a step with a real row would use it twice; dropping a remainder would skip rows."""
    order = LengthSampler([10 + n % 7 for n in range(rows)], batching.rows_per_step, seed=1)
    shared = distribute_batching(batching, ranks)
    filled = PaddedStepSampler(order, batching.rows_per_step, shared.rows_per_pass * ranks, blank_row=rows)
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


def test_a_single_rank_takes_all_rows() -> None:
    """Its weights must stay the same as without distribution."""
    assert distribute_batching(Batching("never", 4, 3), 1) == Batching("never", 4, 3)


def test_no_rank_has_more_rows_per_pass_than_the_recipe_allows() -> None:
    """The batch size was chosen for the memory of one GPU."""
    for ranks in (2, 3, 5, 16):
        assert distribute_batching(Batching("never", 4, 4), ranks).rows_per_pass <= 4


@pytest.mark.slow
def test_a_model_that_is_not_sharded_is_refused() -> None:
    """accelerate silently falls back to full copies on a machine without accelerators."""
    import torch

    from fine_tune_assets.training.lora.distributed_state import require_sharded

    with pytest.raises(FineTuneError, match=r"^2 .*\bweight\b"):
        require_sharded(torch.nn.Linear(2, 2))
