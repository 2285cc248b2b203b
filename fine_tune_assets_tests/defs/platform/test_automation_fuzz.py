"""Random orders of changes, runs, failures, cancellations and restarts: no change is lost, and nothing is started twice."""

import os
import subprocess
import sys

import pytest

from fine_tune_assets.core.paths import PROJECT_DIR

SEED, ORDERS, EVENTS = "1", "10", "20"
"""Fixed, so that the suite does not fail by chance. `make fuzz-automation` tries other seeds."""


@pytest.mark.slow
def test_random_orders_lose_no_change_and_start_nothing_twice() -> None:
    """200 random events over the conditions of the whole graph."""
    done = subprocess.run(
        [sys.executable, "-m", "fine_tune_assets_tests.defs.platform.automation_fuzz", SEED, ORDERS, EVENTS],
        cwd=PROJECT_DIR,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
