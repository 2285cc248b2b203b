"""No network access: the commands of a first day with loopback as the only network. test_whole_graph.py checks the results."""

import re
import stat

import pytest

from fine_tune_assets_tests.end_to_end.conftest import Day

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1500)]


def test_the_demo_serves_a_release_without_a_network_and_repeats_no_work(day: Day) -> None:
    """Unchanged inputs must never cost a GPU hour: the first run builds everything, the second run nothing."""
    first, second = day.of("demo")
    for shown in (first, second):
        assert day.release_id in shown
        assert "promote" in shown
        assert f"http://127.0.0.1:{day.small.ports[0]}/v1" in shown
        assert f"http://127.0.0.1:{day.small.ports[1]}" in shown
        assert re.search(r"^Answer\n\n?.*\w", shown, re.MULTILINE), shown
    assert "Everything is up to date." not in first
    assert "Everything is up to date." in second


def test_nothing_attempts_to_leave_the_machine(day: Day) -> None:
    """A program that checks for updates reveals the installation even if it tolerates a missing reply."""
    assert day.of("attempts") == ["0\n"]
    assert int(day.of("attempts with a probe")[0]) > 0


def test_nothing_that_is_written_is_open_to_other_users(day: Day) -> None:
    """Reports, weights, logs, Dagster's history and databases, whichever program wrote them, under a lax umask."""
    root = day.small.data.parent
    found = {path: path.lstat().st_mode for path in (root, *root.rglob("*"))}
    assert [path for path in found if path.is_relative_to(day.small.home / "history")]
    is_written = {path: stat.S_ISREG(mode) or stat.S_ISDIR(mode) for path, mode in found.items()}
    assert [path for path, mode in found.items() if is_written[path] and mode & 0o077] == []


def test_up_starts_everything_and_down_stops_everything(day: Day) -> None:
    """Both are idempotent, and no engine, daemon or run remains."""
    (up,), (status,) = day.of("up"), day.of("status")
    for service in ("supervisor", "gateway", "dagster-webserver", "dagster-daemon"):
        assert re.search(rf"^  {service} +up ", up, re.MULTILINE), up
    assert day.release_id in status
    assert day.of("down") == ["Stopped.\n", "Stopped.\n"]
    assert day.left == []
