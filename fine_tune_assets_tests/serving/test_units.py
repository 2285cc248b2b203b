"""What systemd is told about the supervisor. systemd itself does not run here: these are its documented meanings."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.engines.running_server import SHUTDOWN_SECONDS
from fine_tune_assets.serving.reconciliation import Pace

UNIT = PROJECT_DIR / "deploy" / "systemd" / "fine-tune-supervisor.service"


def _said() -> dict[str, str]:
    lines = [line for line in UNIT.read_text(encoding="utf-8").splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_engines_outlive_a_supervisor_that_crashes() -> None:
    """By `mixed` and `control-group` systemd ends what is left in the unit: nothing to adopt, and every stream cut. By default it
    stops the rest when the kernel ended one engine."""
    said = _said()
    assert (said["KillMode"], said["OOMPolicy"], said["Restart"]) == ("process", "continue", "on-failure")


def test_a_stop_waits_for_the_last_answers() -> None:
    """Killed sooner, the supervisor would leave its engines without having told the ledger."""
    assert int(_said()["TimeoutStopSec"]) > SHUTDOWN_SECONDS + Pace().stop_grace_seconds


@pytest.mark.parametrize(("outcome", "is_run"), [("success", False), ("signal", False), ("timeout", True)])
def test_what_a_stop_in_vain_left_is_ended_and_nothing_else(tmp_path: Path, outcome: str, is_run: bool) -> None:
    """It runs after every end of the unit: after a crash it must leave the engines alone."""
    program = tmp_path / "fine-tune"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    program.chmod(0o700)
    command = shlex.split(_said()["ExecStopPost"].replace("/opt/fine-tune-assets/.venv/bin/fine-tune", str(program)))
    done = subprocess.run(command, env={**os.environ, "SERVICE_RESULT": outcome}, check=False)
    assert done.returncode == 0
    asked = tmp_path / "asked"
    assert (asked.read_text() if asked.is_file() else "") == ("down supervisor\n" if is_run else "")
