"""Answers during training and judging meet their target only with figures that exist."""

import pytest

from benchmarks.gpu_proof.turns import compare_turns
from benchmarks.serving_load import percentile

IDLE = {"p95_seconds": 2.0, "failed_or_cut": 0}


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(number) for number in range(1, 101)]
    assert percentile(values, 0.95) == 95.0
    assert percentile([3.0], 0.95) == 3.0
    assert percentile([1.0, 2.0], 0.95) == 2.0  # never below the median


@pytest.mark.parametrize(
    ("p95", "failed", "expected"), [(3.0, 0, True), (3.1, 0, False), (2.0, 1, False)], ids=["met", "slow", "failed"]
)
def test_answers_during_training_must_be_fast_and_complete(p95: float, failed: int, expected: bool) -> None:
    found = compare_turns({"idle": IDLE, "training": {"p95_seconds": p95, "failed_or_cut": failed}}, dry=False)
    assert found["training_meets_target"] is expected
    assert found["training_failed"] == failed
    assert found["judging_meets_target"] is None


def test_without_an_idle_figure_the_target_stays_open() -> None:
    found = compare_turns({"idle": None, "training": {"p95_seconds": 1.0, "failed_or_cut": 0}}, dry=False)
    assert found["training_meets_target"] is None
