"""How the daemon starts runs: as Dagster does by default, and it knows later whether the process of one still lives.

Owns that knowledge. Dagster's own launcher has none: a run whose processes were all killed (power cut, `kill -9` of the daemon
and what it started) counted as going on for ever, kept the GPU's slot, and nothing that it was to make was ever made again.
With it run monitoring marks such a run as failed, and run retries start it again. Named in `dagster.yaml`; every process that
opens the instance loads this file. In the daemon it has code servers kept (`code_servers.py`) besides.
"""

import sys
import time
from collections.abc import Mapping

import dagster as dg
from dagster._core.events import DagsterEventType, EngineEventData
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._core.launcher.base import LaunchRunContext

from fine_tune_assets.engines.processes import ProcessIdentity, identify, is_alive

if "dagster._daemon.controller" in sys.modules:  # in the daemon alone: others would import it for a second
    from fine_tune_assets.defs.platform.code_servers import keep_code_servers

    keep_code_servers()

PID, STARTED = "pid", "started"
WAIT_SECONDS = 10.0
"""For the process to say its number: it does so within milliseconds of its start."""


class WatchedRunLauncher(DefaultRunLauncher):
    """Starts each run in a process of the code server, and remembers which one."""

    def launch_run(self, context: LaunchRunContext) -> None:
        super().launch_run(context)
        run, deadline = context.dagster_run, time.monotonic() + WAIT_SECONDS
        while not (known := what_is_known(self._instance, run.run_id)) and time.monotonic() < deadline:
            time.sleep(0.05)
        # Not a tag: a retry inherits its parent's, and would be taken for a dead process.
        identity = identify(int(known[PID])) if known else None
        if identity is not None:
            remembered = EngineEventData({PID: str(identity.pid), STARTED: str(identity.started)})
            self._instance.report_engine_event("Watching the process of this run.", run, remembered)

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        # One of `fine-tune materialize` has no origin. It may be another machine's.
        return health_of(what_is_known(self._instance, run.run_id) if run.remote_job_origin else {})


def what_is_known(instance: dg.DagsterInstance, run_id: str) -> dict[str, str]:
    """What is recorded of the run's process: its number and, once it was seen alive, when it started."""
    found: dict[str, str] = {}
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT):
        data = entry.dagster_event.engine_event_data if entry.dagster_event else None
        told = data.metadata if data else {}
        # The first number is the run's own.
        found = {name: str(told[name].value) for name in (PID, STARTED) if name in told} | found
    return found


def health_of(known: Mapping[str, str]) -> CheckRunHealthResult:
    """A process with the same number that started at another time is another one. Without a number nothing is known."""
    if PID not in known:
        return CheckRunHealthResult(WorkerStatus.RUNNING)
    pid = int(known[PID])
    lives = is_alive(ProcessIdentity(pid, int(known[STARTED]))) if STARTED in known else identify(pid) is not None
    if lives:
        return CheckRunHealthResult(WorkerStatus.RUNNING)
    return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"Process {pid} of this run is gone.")
