"""A training meets its plan only with figures that exist, and one that was not run is not measured."""

from pathlib import Path

import pytest

from benchmarks.gpu_proof.qlora import add_comparison, compare_trainings
from benchmarks.gpu_proof.results import SkipPart
from benchmarks.gpu_proof.training_case import find_error, require_fit, run_module


@pytest.mark.parametrize(
    ("planned", "measured", "expected"),
    [(100, 105, True), (100, 95, True), (100, 105.1, False), (100, 94.9, False), (None, 100, None), (100, None, None)],
)
def test_the_plan_may_be_off_by_five_percent_either_way(
    planned: float | None, measured: float | None, expected: bool | None
) -> None:
    found = add_comparison({"planned_bytes": planned, "peak_bytes": measured}, dry=False)
    assert found["is_within_plan"] is expected


def test_the_plans_error_is_signed() -> None:
    assert add_comparison({"planned_bytes": 200, "peak_bytes": 190}, dry=False)["plan_error"] == pytest.approx(-0.05)


def test_a_dry_run_has_an_error_of_the_plan_but_no_verdict() -> None:
    """Resident memory of a tiny model on a CPU says nothing about a card."""
    figures = {"planned_bytes": 100, "peak_bytes": 101}
    assert add_comparison(figures, dry=False)["is_within_plan"] is True
    assert add_comparison(figures, dry=True)["is_within_plan"] is None
    assert add_comparison(figures, dry=True)["plan_error"] == pytest.approx(0.01)


def test_trainings_that_are_missing_have_no_ratio() -> None:
    cases = {"qlora": {"tokens_per_second": 100.0, "peak_bytes": 10}, "qlora_packed": {"tokens_per_second": 150.0}}
    found = compare_trainings(cases)
    assert found["packed_to_padded_speed"] == pytest.approx(1.5)
    assert {name for name, value in found.items() if value is not None} == {"packed_to_padded_speed"}


def test_a_training_that_does_not_fit_is_skipped() -> None:
    """The plan alone would otherwise pass for a training, and the answers given meanwhile for undisturbed."""
    with pytest.raises(SkipPart):
        require_fit({"fits": False, "planned_bytes": 9_000_000_000})
    assert require_fit({"fits": True})["fits"]


def test_a_failed_process_is_reported_with_its_exception() -> None:
    """Libraries write warnings when they are torn down, after the exception."""
    log = (
        "Loading\nTraceback (most recent call last):\ntorch.OutOfMemoryError: CUDA out of memory.\n[W socket] closed\n"
    )
    assert find_error(log) == "torch.OutOfMemoryError: CUDA out of memory."
    assert find_error("Loading\n") is None


def test_a_process_that_ends_without_an_exception_is_reported_with_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel kills without a message."""
    (tmp_path / "killed.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="-9"):
        run_module("killed", {}, 60)
