"""The supervisor's systemd unit. systemd does not run here; the checks follow its documentation."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.engines.running_server import SHUTDOWN_SECONDS
from fine_tune_assets.serving.reconciliation import SupervisorTimings

UNIT = PROJECT_DIR / "deploy" / "systemd" / "fine-tune-supervisor.service"


def _unit_options() -> dict[str, str]:
    lines = [line for line in UNIT.read_text(encoding="utf-8").splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_engines_outlive_a_supervisor_that_crashes() -> None:
    """With `mixed` or `control-group`, systemd would kill the engines too. By default it stops the whole unit when the kernel
    kills one engine."""
    options = _unit_options()
    assert (options["KillMode"], options["OOMPolicy"], options["Restart"]) == ("process", "continue", "on-failure")


def test_a_stop_waits_for_the_last_answers() -> None:
    """If systemd killed the supervisor earlier, engines would keep running and the ledger would be outdated."""
    assert int(_unit_options()["TimeoutStopSec"]) > SHUTDOWN_SECONDS + SupervisorTimings().stop_grace_seconds


@pytest.mark.parametrize(("outcome", "is_run"), [("success", False), ("signal", False), ("timeout", True)])
def test_a_timed_out_stop_stops_the_engines_and_a_crash_does_not(tmp_path: Path, outcome: str, is_run: bool) -> None:
    """ExecStopPost runs after every end of the unit, but engines must survive a crash."""
    program = tmp_path / "fine-tune"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\n')
    program.chmod(0o700)
    command = shlex.split(
        _unit_options()["ExecStopPost"].replace("/opt/fine-tune-assets/.venv/bin/fine-tune", str(program))
    )
    done = subprocess.run(command, env={**os.environ, "SERVICE_RESULT": outcome}, check=False)
    assert done.returncode == 0
    arguments = tmp_path / "arguments"
    assert (arguments.read_text() if arguments.is_file() else "") == ("down supervisor\n" if is_run else "")
