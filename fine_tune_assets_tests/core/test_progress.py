"""Estimates of the remaining time, and the progress files that the desk's first page reads."""

import json
import os
import threading
from pathlib import Path

import pytest

from fine_tune_assets.core.progress import (
    STALE_SECONDS,
    ProgressCount,
    RunningStep,
    add_report,
    format_duration,
    list_running_steps,
    progress_writer,
    publish_step,
)

STEP = RunningStep("s06_adapters", ("adapters",), None, started_at=100.0)


def reported(*reports: tuple[float, int], total: int = 100, what: str = "steps") -> ProgressCount:
    """Reports as (seconds, items done)."""
    count = None
    for now, done in reports:
        count = add_report(count, done, total, what, now)
    assert count is not None
    return count


@pytest.mark.parametrize("second", range(10, 100, 5))
def test_the_time_left_of_steady_work_is_accurate_from_10_percent_on(second: int) -> None:
    """One item per second after 30 s of loading, reported every 2 s: within a factor of 1.5."""
    count = reported(*((30.0 + now, now) for now in range(1, second + 1, 2)))
    left = count.seconds_left(30.0 + second)
    assert left is not None
    assert (100 - second) / 1.5 <= left <= (100 - second) * 1.5


def test_the_time_left_of_slowing_work_is_accurate_to_a_factor_of_1_5() -> None:
    """Prompts are answered from the shortest to the longest: the last takes 1.5 times as long as the first."""
    took, now = [], 0.0
    for item in range(100):
        now += 1 + 0.5 * item / 100
        took.append(now)
    count = None
    for done, at in enumerate(took, start=1):
        count = add_report(count, done, 100, "answers", at)
        left = count.seconds_left(at)
        if 10 <= done < 100:
            assert left is not None
            assert (took[-1] - at) / 1.5 <= left <= (took[-1] - at) * 1.5


def test_the_time_left_follows_a_machine_that_becomes_idle() -> None:
    """20 % of the work at one item per second, then four per second: the estimate adapts to the faster rate."""
    slow, fast = [(float(n), n) for n in range(21)], [(20 + (n - 20) / 4, n) for n in range(21, 81)]
    left = reported(*slow, *fast).seconds_left(35.0)
    assert left is not None
    assert 5 / 1.5 <= left <= 5 * 1.5


def test_one_long_step_hardly_changes_the_time_left() -> None:
    """The estimate of a training with 68 steps went from 17 minutes to an hour and back."""
    steady = [(10.0 * n, n) for n in range(12)]
    before, after = reported(*steady), reported(*steady, (110.0 + 90.0, 12))
    assert before.rate is not None
    assert after.rate is not None
    assert 1 < before.rate / after.rate < 1.8


def test_a_long_count_keeps_a_small_file() -> None:
    """A training of weeks reports every two seconds."""
    count = reported(*((float(n), n) for n in range(20_000)), total=40_000)
    assert len(count.reports) <= 64
    assert count.rate == pytest.approx(1.0, abs=0.01)


def test_no_rate_is_reported_before_items_were_counted() -> None:
    """Items in the first report were not done at the current rate."""
    assert reported((5.0, 40)).rate is None
    assert reported((5.0, 40)).seconds_left(6.0) is None
    assert reported((5.0, 40), (5.5, 41)).rate is None
    assert reported((5.0, 40), (15.0, 60)).rate == 2.0


def test_another_label_starts_a_new_count() -> None:
    """A stage answers with one model and then the other, each with its own rate."""
    first = reported((0.0, 0), (10.0, 100), what="answers by the base")
    assert add_report(first, 10, 100, "answers by the adapter", 20.0).rate is None
    assert add_report(first, 5, 100, "answers by the base", 20.0).rate is None
    assert add_report(first, 100, 200, "answers by the base", 20.0).rate is None
    detailed = reported((0.0, 0), (10.0, 5), what="steps, loss 2.1 (3 GB)")
    assert add_report(detailed, 10, 100, "steps, loss 1.9 (4 GB)", 20.0).rate == 0.5


def test_a_step_shows_while_it_runs_and_not_after(tmp_path: Path) -> None:
    with publish_step(tmp_path, STEP) as file:
        now = file.stat().st_mtime
        assert list_running_steps(tmp_path, now) == [STEP]
        progress_writer(file)(3, 9, "optimizer steps")
        (step,) = list_running_steps(tmp_path, now)
        assert step.count is not None
        assert (step.count.done, step.count.total, step.count.label) == (3, 9, "optimizer steps")
        assert file.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == []


def test_a_failed_step_is_removed_too(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), publish_step(tmp_path, STEP):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_killed_step_disappears_when_its_heartbeat_is_stale(tmp_path: Path) -> None:
    """The killed process cannot delete its file."""
    with publish_step(tmp_path, STEP) as file:
        left = tmp_path / "left.json"
        left.write_bytes(file.read_bytes())
    now = left.stat().st_mtime
    assert list_running_steps(tmp_path, now + STALE_SECONDS - 1) == [STEP]
    assert list_running_steps(tmp_path, now + STALE_SECONDS) == []
    os.utime(left, (0, 0))
    with publish_step(tmp_path, STEP):
        assert not left.exists()


def test_invalid_files_do_not_hide_running_steps(tmp_path: Path) -> None:
    with publish_step(tmp_path, STEP) as file:
        (tmp_path / "empty.json").write_text("")
        (tmp_path / "other.json").write_text(json.dumps({"count": 3}))
        assert list_running_steps(tmp_path, file.stat().st_mtime) == [STEP]


def test_late_reports_do_not_recreate_an_ended_step(tmp_path: Path) -> None:
    """A worker may outlive its step for a moment."""
    with publish_step(tmp_path, STEP) as file:
        report = progress_writer(file)
    report(1, 2, "steps")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """The page reads while the worker writes."""
    with publish_step(tmp_path, STEP) as file:
        report, now = progress_writer(file), file.stat().st_mtime
        writer = threading.Thread(target=lambda: [report(n, 50, "steps") for n in range(50)])
        writer.start()
        while writer.is_alive():
            assert len(list_running_steps(tmp_path, now)) == 1
        writer.join()


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (65, "1 min 05 s"), (7500, "2 h 05 min")])
def test_a_duration_has_at_most_two_units(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words
