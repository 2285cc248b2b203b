"""How far work is: estimates of the time left, and the files of running steps that the desk's first page reads."""

import json
import os
import threading
from pathlib import Path

import pytest

from fine_tune_assets.core.progress import (
    GONE_SECONDS,
    Counted,
    RunningStep,
    counted,
    duration_words,
    reports_into,
    running_steps,
    shown_running,
)

STEP = RunningStep("s06_adapters", ("adapters",), None, started_at=100.0)


def reported(*reports: tuple[float, int], total: int = 100, what: str = "steps") -> Counted:
    """Reports as (seconds, items done)."""
    count = None
    for now, done in reports:
        count = counted(count, done, total, what, now)
    assert count is not None
    return count


@pytest.mark.parametrize("second", range(10, 100, 5))
def test_the_time_left_of_steady_work_is_right_from_the_first_tenth_on(second: int) -> None:
    """One item a second after half a minute of loading, reported every two seconds: within a factor of 1.5."""
    count = reported(*((30.0 + now, now) for now in range(1, second + 1, 2)))
    left = count.seconds_left(30.0 + second)
    assert left is not None
    assert (100 - second) / 1.5 <= left <= (100 - second) * 1.5


def test_work_that_grows_slower_stays_within_a_factor_of_one_and_a_half() -> None:
    """Prompts are answered from the shortest to the longest: the last one takes half as long again as the first."""
    took, now = [], 0.0
    for item in range(100):
        now += 1 + 0.5 * item / 100
        took.append(now)
    count = None
    for done, at in enumerate(took, start=1):
        count = counted(count, done, 100, "answers", at)
        left = count.seconds_left(at)
        if 10 <= done < 100:
            assert left is not None
            assert (took[-1] - at) / 1.5 <= left <= (took[-1] - at) * 1.5


def test_the_time_left_follows_a_machine_that_becomes_idle() -> None:
    """A fifth of the work at one item a second, then four a second: soon the estimate is that of the faster rate."""
    slow, fast = [(float(n), n) for n in range(21)], [(20 + (n - 20) / 4, n) for n in range(21, 81)]
    left = reported(*slow, *fast).seconds_left(35.0)
    assert left is not None
    assert 5 / 1.5 <= left <= 5 * 1.5


def test_a_long_count_keeps_a_small_file() -> None:
    """A training of weeks reports every two seconds."""
    count = reported(*((float(n), n) for n in range(20_000)), total=40_000)
    assert len(count.reports) <= 64
    assert count.rate == pytest.approx(1.0, abs=0.01)


def test_no_rate_is_made_up_before_something_was_counted() -> None:
    """The first report says what was done while the model was loaded."""
    assert reported((5.0, 40)).rate is None
    assert reported((5.0, 40)).seconds_left(6.0) is None
    assert reported((5.0, 40), (5.5, 41)).rate is None
    assert reported((5.0, 40), (15.0, 60)).rate == 2.0


def test_other_items_begin_a_new_count() -> None:
    """A stage answers with one model, then with the other: the second has a rate of its own."""
    first = reported((0.0, 0), (10.0, 100), what="answers by the base")
    assert counted(first, 10, 100, "answers by the adapter", 20.0).rate is None
    assert counted(first, 5, 100, "answers by the base", 20.0).rate is None
    assert counted(first, 100, 200, "answers by the base", 20.0).rate is None
    told = reported((0.0, 0), (10.0, 5), what="steps, loss 2.1 (3 GB)")
    assert counted(told, 10, 100, "steps, loss 1.9 (4 GB)", 20.0).rate == 0.5


def test_a_step_shows_while_it_runs_and_not_after(tmp_path: Path) -> None:
    with shown_running(tmp_path, STEP) as file:
        now = file.stat().st_mtime
        assert running_steps(tmp_path, now) == [STEP]
        reports_into(file)(3, 9, "optimiser steps")
        (step,) = running_steps(tmp_path, now)
        assert step.count is not None
        assert (step.count.done, step.count.total, step.count.what) == (3, 9, "optimiser steps")
        assert file.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_fails_is_gone_too(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), shown_running(tmp_path, STEP):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_was_killed_is_not_shown_for_ever(tmp_path: Path) -> None:
    """Its file stays, and nobody touches it any more."""
    with shown_running(tmp_path, STEP) as file:
        left = tmp_path / "left.json"
        left.write_bytes(file.read_bytes())
    now = left.stat().st_mtime
    assert running_steps(tmp_path, now + GONE_SECONDS - 1) == [STEP]
    assert running_steps(tmp_path, now + GONE_SECONDS) == []
    os.utime(left, (0, 0))
    with shown_running(tmp_path, STEP):
        assert not left.exists()


def test_what_is_no_step_hides_no_other_one(tmp_path: Path) -> None:
    with shown_running(tmp_path, STEP) as file:
        (tmp_path / "empty.json").write_text("")
        (tmp_path / "other.json").write_text(json.dumps({"count": 3}))
        assert running_steps(tmp_path, file.stat().st_mtime) == [STEP]


def test_reports_of_a_step_that_is_over_bring_nothing_back(tmp_path: Path) -> None:
    """A worker that outlives its step for a moment must not leave a step that never ends."""
    with shown_running(tmp_path, STEP) as file:
        report = reports_into(file)
    report(1, 2, "steps")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_never_meets_half_a_file(tmp_path: Path) -> None:
    """The page reads while the worker writes."""
    with shown_running(tmp_path, STEP) as file:
        report, now = reports_into(file), file.stat().st_mtime
        writer = threading.Thread(target=lambda: [report(n, 50, "steps") for n in range(50)])
        writer.start()
        while writer.is_alive():
            assert len(running_steps(tmp_path, now)) == 1
        writer.join()


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (65, "1 min 05 s"), (7500, "2 h 05 min")])
def test_a_duration_is_said_in_two_units_at_most(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words
