"""A training resumes automatically after its trainer, its step or all processes are killed, and gives the same adapter."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.defs.platform.resources import retry_when_killed
from fine_tune_assets.defs.s06_adapters.adapters import GPU, adapters
from fine_tune_assets.engines.processes import start_process
from fine_tune_assets_tests.defs.killed_location import TRAINING, trained
from fine_tune_assets_tests.training.forked_trainings import Trainings

WAIT_SECONDS = 120
KINDS = {
    "daemon": b"dagster-daemon",
    "code server": b"dagster\0api\0grpc",
    "step": b"multiprocessing-fork",
    "trainer": b"-m\0fine_tune_assets.training",
}
"""Kind of process → part of its command line."""


class Machine:
    """The daemon and its child processes, found by the data folder in their environment."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._workspace = data / "workspace.yaml"
        self._workspace.write_text("load_from:\n  - python_module: fine_tune_assets_tests.defs.killed_location\n")

    def start_daemon(self) -> None:
        command = (str(Path(sys.executable).parent / "dagster-daemon"), "run", "-w", str(self._workspace))
        quick = {"DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "1", "OMP_NUM_THREADS": "1"}
        environment = {**os.environ, **quick, "PYTHONPATH": str(PROJECT_DIR)}
        start_process(
            command, cwd=PROJECT_DIR, environment=environment, log=self._data / "daemon.log", die_with_parent=False
        )

    def running(self, kind: str) -> list[int]:
        mine, found = f"FINE_TUNE_DATA_DIR={self._data}".encode(), []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                is_mine = mine in (entry / "environ").read_bytes().split(b"\0")
                if is_mine and KINDS[kind] in (entry / "cmdline").read_bytes() and int(entry.name) != os.getpid():
                    found.append(int(entry.name))
        return found

    def kill(self, *kinds: str) -> None:
        for kind in kinds:
            for pid in self.running(kind):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def last_step(self) -> int:
        """Step of the newest checkpoint; 0 without one."""
        found = self._data.glob("checkpoints/*/checkpoint-*")
        return max((int(path.name.removeprefix("checkpoint-")) for path in found), default=0)

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not is_so():
            if time.monotonic() >= deadline:
                log = (self._data / "daemon.log").read_text(errors="replace")
                pytest.fail(f"Not within {WAIT_SECONDS} s: {what}. The end of the daemon's log:\n{log[-3000:]}")
            time.sleep(0.01)

    def wait_for_step(self, step: int) -> int:
        self.wait_until(lambda: self.last_step() >= step, f"a checkpoint of step {step}")
        return self.last_step()


@pytest.fixture
def machine(installation_dir: Path) -> Iterator[Machine]:
    home = installation_dir.parent / "dagster"
    values = yaml.safe_load((home / "dagster.yaml").read_text(encoding="utf-8"))
    # Only the intervals are shorter than in production.
    values["run_monitoring"] |= {"poll_interval_seconds": 1, "free_slots_after_run_end_seconds": 1}
    (home / "dagster.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    machine = Machine(installation_dir)
    yield machine
    machine.kill("daemon", "code server", "step", "trainer")


def _made(instance: dg.DagsterInstance) -> dict[str, object]:
    (record,) = instance.fetch_materializations(trained.key, limit=5).records
    assert record.asset_materialization is not None
    return {name: value.value for name, value in record.asset_materialization.metadata.items()}


def _uninterrupted(trainings: Trainings, data: Path) -> dict[str, object]:
    """The result of an uninterrupted training. Copies its base model and examples to `data`."""
    result = trainings.run("uninterrupted", TRAINING)
    assert result is not None
    shutil.copytree(trainings.root / "base", data / "base")
    shutil.copy(trainings.root / "uninterrupted" / "set.parquet", data)
    return {"adapter_id": result["adapter_id"], "resumed_from_step": 0, "steps": result["steps"]}


@pytest.mark.slow  # TRL takes 13 s to import, in each of four trainers
def test_a_training_resumes_whichever_process_is_killed(
    machine: Machine, installation_dir: Path, instance: dg.DagsterInstance, trainings: Trainings
) -> None:
    """Out of memory, a mistake or a power failure must not lose a night of training."""
    uninterrupted = _uninterrupted(trainings, installation_dir)
    machine.start_daemon()
    step = machine.wait_for_step(2)
    machine.kill("trainer")
    step = machine.wait_for_step(step + 2)
    machine.kill("step")
    machine.wait_until(lambda: not machine.running("trainer"), "the trainer ends with its step")
    step = machine.wait_for_step(step + 2)
    machine.kill("daemon")
    step = machine.wait_for_step(step + 2)  # a running training does not need the daemon
    machine.kill("code server", "step")
    machine.wait_until(lambda: not machine.running("trainer"), "the trainer ends with its step")
    assert not list(installation_dir.glob("adapters/*"))
    machine.start_daemon()
    machine.wait_until(lambda: instance.get_latest_materialization_event(trained.key) is not None, "the adapter")
    resumed = _made(instance)
    assert isinstance(resumed["resumed_from_step"], int)
    assert resumed["resumed_from_step"] >= step - 1
    assert {**resumed, "resumed_from_step": 0} == uninterrupted

    runs = instance.get_runs
    machine.wait_until(lambda: all(run.is_finished for run in runs()), "the end of the run")
    assert [run.status.value for run in reversed(runs())] == ["FAILURE", "FAILURE", "SUCCESS"]
    slots = instance.event_log_storage.get_concurrency_info
    machine.wait_until(lambda: not slots(GPU).claimed_slots, "the GPU is free for the next one")


CANCELLED = """
import dagster as dg
from fine_tune_assets.defs.platform.resources import retry_when_killed

@dg.asset
def trained(context: dg.AssetExecutionContext) -> None:
    print("started", flush=True)
    with retry_when_killed():
        dg.PipesSubprocessClient().run(context=context, command=["sleep", "60"])

print(dg.materialize([trained], raise_on_error=False).success)
"""


def test_a_cancelled_training_is_not_retried() -> None:
    """Dagster's RetryPolicy would retry it: the run was shown as cancelled, and its trainer ran concurrently with the next."""
    assert adapters.op.retry_policy is None
    step = subprocess.Popen([sys.executable, "-c", CANCELLED], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert step.stdout is not None
    assert step.stdout.readline() == b"started\n"
    step.send_signal(signal.SIGINT)
    assert step.communicate(timeout=WAIT_SECONDS)[0] in (b"", b"False\n")


def test_the_error_after_the_last_kill_explains_how_to_save_memory() -> None:
    """Users don't know what status -9 means. Uses a real process that kills itself three times."""
    kills_itself = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    starts: list[int] = []

    @dg.asset
    def trained(context: dg.AssetExecutionContext) -> None:
        starts.append(context.op_execution_context.retry_number)
        with retry_when_killed():
            dg.PipesSubprocessClient().run(context=context, command=kills_itself)

    result = dg.materialize([trained], raise_on_error=False)
    assert starts == [0, 1, 2]
    (failed,) = result.get_step_failure_events()
    failure = failed.step_failure_data.user_failure_data
    assert failure is not None
    for word in ("killed", "memory", "batch_size", "max_length", "gradient_checkpointing", "fine-tune plan"):
        assert word in str(failure.description)
