"""Runs a supervisor's ticks manually."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from fine_tune_assets.serving.supervisor import Supervisor


def tick_until(supervisor: Supervisor, is_done: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < deadline
        supervisor.tick(datetime.now(UTC))
        time.sleep(0.05)
