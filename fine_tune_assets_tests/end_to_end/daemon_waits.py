"""Waits for a real daemon. A timeout is reported with the end of the daemon's log."""

import time
from collections.abc import Callable

import dagster as dg
import pytest

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.serving.services import log_file


def until(is_so: Callable[[], bool], settings: Settings, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() >= deadline:
            log = log_file(settings, "dagster-daemon").read_text(errors="replace")
            pytest.fail(f"Not within {seconds:g} s: {what}. The end of the daemon's log:\n{log[-3000:]}")
        time.sleep(0.25)


def until_quiet(instance: dg.DagsterInstance, settings: Settings, quiet_seconds: float, seconds: float) -> None:
    """Wait until no run has started or been active for `quiet_seconds`."""
    known, since = -1, time.monotonic()

    def is_quiet() -> bool:
        nonlocal known, since
        runs = instance.get_runs()
        if len(runs) != known or any(not run.is_finished for run in runs):
            known, since = len(runs), time.monotonic()
        return time.monotonic() - since >= quiet_seconds

    until(is_quiet, settings, seconds, "no more runs")
