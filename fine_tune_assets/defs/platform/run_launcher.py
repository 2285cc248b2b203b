"""The run launcher of the daemon: Dagster's default launcher, plus a check whether the process of a run still exists.

With the default launcher, a run whose processes were all killed (power failure, `kill -9` of the daemon and its children) stays
in progress forever and keeps its GPU slot, so its assets are never materialized again. With this one, run monitoring marks it
as failed, and run retries start it again.

`dagster.yaml` names this module, and every process that opens the instance loads it.
"""

import time
from collections.abc import Mapping

import dagster as dg

from fine_tune_assets.defs.platform.dagster_compat.private_names import (
    CheckRunHealthResult,
    DefaultRunLauncher,
    EngineEventData,
    LaunchRunContext,
    WorkerStatus,
)
from fine_tune_assets.engines.processes import ProcessIdentity, identify, is_alive

PID, STARTED = "pid", "started"
WAIT_SECONDS = 10.0
"""Maximum wait for the process to report its id, which takes milliseconds."""


class WatchedRunLauncher(DefaultRunLauncher):
    """Starts each run in a process of the code server and records which one."""

    def launch_run(self, context: LaunchRunContext) -> None:
        super().launch_run(context)
        run, deadline = context.dagster_run, time.monotonic() + WAIT_SECONDS
        while not (known := read_process_record(self._instance, run.run_id)) and time.monotonic() < deadline:
            time.sleep(0.05)
        # Not a tag: a retry inherits the tags of its parent, whose process is dead.
        identity = identify(int(known[PID])) if known else None
        if identity is not None:
            data = EngineEventData({PID: str(identity.pid), STARTED: str(identity.start_ticks)})
            self._instance.report_engine_event("Watching the process of this run.", run, data)

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        # A run of `fine-tune materialize` has no origin. It may belong to another machine.
        return check_health(read_process_record(self._instance, run.run_id) if run.remote_job_origin else {})


def read_process_record(instance: dg.DagsterInstance, run_id: str) -> dict[str, str]:
    """The recorded id of the run's process and, once it was seen alive, its start time."""
    found: dict[str, str] = {}
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        data = entry.dagster_event.engine_event_data if entry.dagster_event else None
        metadata = data.metadata if data else {}
        # The first process id is the run's own.
        found = {name: str(metadata[name].value) for name in (PID, STARTED) if name in metadata} | found
    return found


def check_health(known: Mapping[str, str]) -> CheckRunHealthResult:
    """Whether the run's process exists: same id and same start time. A run without a recorded id counts as running."""
    if PID not in known:
        return CheckRunHealthResult(WorkerStatus.RUNNING)
    pid = int(known[PID])
    exists = is_alive(ProcessIdentity(pid, int(known[STARTED]))) if STARTED in known else identify(pid) is not None
    if exists:
        return CheckRunHealthResult(WorkerStatus.RUNNING)
    return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"Process {pid} of this run no longer exists.")
