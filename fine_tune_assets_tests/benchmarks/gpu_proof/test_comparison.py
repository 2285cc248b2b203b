"""Targets are met only by figures that exist."""

import pytest

from benchmarks.gpu_proof.comparison import compare_trainings, is_within_plan, percentile, ratio, relative_error
from benchmarks.gpu_proof.qlora import add_comparison
from benchmarks.gpu_proof.turns import compare_turns


@pytest.mark.parametrize(
    ("planned", "measured", "expected"),
    [(100, 105, True), (100, 95, True), (100, 105.1, False), (100, 94.9, False), (None, 100, None), (100, None, None)],
)
def test_the_plan_may_be_off_by_five_percent_either_way(
    planned: float | None, measured: float | None, expected: bool | None
) -> None:
    assert is_within_plan(planned, measured) is expected


def test_the_plans_error_is_signed() -> None:
    assert relative_error(200, 190) == pytest.approx(-0.05)


def test_a_dry_run_has_an_error_of_the_plan_but_no_verdict() -> None:
    """Resident memory of a tiny model on a CPU says nothing about a card."""
    figures = {"planned_bytes": 100, "peak_bytes": 101}
    assert add_comparison(figures, dry=False)["is_within_plan"] is True
    assert add_comparison(figures, dry=True)["is_within_plan"] is None
    assert add_comparison(figures, dry=True)["plan_error"] == pytest.approx(0.01)


def test_the_planned_time_is_compared_separately() -> None:
    figures = {"planned_bytes": 100, "peak_bytes": 100, "planned_seconds": 10.0, "duration_seconds": 12.0}
    found = add_comparison(figures, dry=False)
    assert found["is_within_plan"] is True
    assert found["is_time_within_plan"] is False
    assert found["time_error"] == pytest.approx(0.2)


def test_trainings_that_are_missing_have_no_ratio() -> None:
    cases = {"qlora": {"tokens_per_second": 100.0, "peak_bytes": 10}, "qlora_packed": {"tokens_per_second": 150.0}}
    found = compare_trainings(cases)
    assert found["packed_to_padded_speed"] == pytest.approx(1.5)
    assert {name for name, value in found.items() if value is not None} == {"packed_to_padded_speed"}


@pytest.mark.parametrize(("one", "other"), [(None, 1.0), (1.0, None), (1.0, 0.0)])
def test_a_ratio_needs_both_figures(one: float | None, other: float | None) -> None:
    assert ratio(one, other) is None


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(number) for number in range(1, 101)]
    assert percentile(values, 0.95) == 95.0
    assert percentile([3.0], 0.95) == 3.0
    assert percentile([], 0.95) is None


IDLE = {"p95_seconds": 2.0, "failed_or_cut": 0}


@pytest.mark.parametrize(
    ("p95", "failed", "expected"), [(3.0, 0, True), (3.1, 0, False), (2.0, 1, False)], ids=["met", "slow", "failed"]
)
def test_answers_beside_training_must_be_fast_and_complete(p95: float, failed: int, expected: bool) -> None:
    found = compare_turns({"idle": IDLE, "training": {"p95_seconds": p95, "failed_or_cut": failed}}, dry=False)
    assert found["training_meets_target"] is expected
    assert found["judging_meets_target"] is None


def test_without_an_idle_figure_the_target_stays_open() -> None:
    found = compare_turns({"idle": None, "training": {"p95_seconds": 1.0, "failed_or_cut": 0}}, dry=False)
    assert found["training_meets_target"] is None
