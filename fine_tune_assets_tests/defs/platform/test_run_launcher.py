"""Detection of dead run processes: a run whose process has ended must not count as running."""

import os
import subprocess

import dagster as dg
from dagster._core.events import EngineEventData
from dagster._core.launcher import WorkerStatus

from fine_tune_assets.defs.platform.run_launcher import (
    PID,
    STARTED,
    WatchedRunLauncher,
    check_health,
    read_process_record,
)
from fine_tune_assets.engines.processes import identify


@dg.job
def nothing() -> None:
    """No step."""


def _ended() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_process_that_is_gone_is_noticed() -> None:
    """Dagster records the PID itself, in case the daemon died before it recorded more."""
    assert check_health({PID: str(_ended())}).status == WorkerStatus.NOT_FOUND


def test_a_process_that_got_the_number_of_one_that_is_gone_is_another_one() -> None:
    """After a reboot, PIDs are reassigned, often to the same programs."""
    me = identify(os.getpid())
    assert me is not None
    assert check_health({PID: str(me.pid), STARTED: str(me.start_ticks)}).status == WorkerStatus.RUNNING
    assert check_health({PID: str(me.pid), STARTED: str(me.start_ticks - 1)}).status == WorkerStatus.NOT_FOUND


def test_the_first_number_of_a_run_is_its_own(instance: dg.DagsterInstance) -> None:
    """Later PIDs may belong to its steps. The launcher's own event holds the start time."""
    run = instance.create_run_for_job(nothing)
    for told in ({PID: "12"}, {PID: "12", STARTED: "345"}, {PID: "67"}):
        instance.report_engine_event("said", run, EngineEventData(told))
    assert read_process_record(instance, run.run_id) == {PID: "12", STARTED: "345"}


def test_a_run_without_a_launcher_counts_as_running(instance: dg.DagsterInstance) -> None:
    """One of `fine-tune materialize` may be at work on another machine: marked as failed, it would be made twice."""
    run = instance.create_run_for_job(nothing)
    instance.report_engine_event("said", run, EngineEventData({PID: str(_ended())}))
    launcher = instance.run_launcher
    assert isinstance(launcher, WatchedRunLauncher)  # the home's dagster.yaml names it
    assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
