"""A trainer that is killed within a run is started again by the step itself, and ends with the same adapter."""

import os
import signal
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.defs.resources import Worker
from fine_tune_assets.defs.s06_adapters import GOES_ON, adapters
from fine_tune_assets_tests.training.tiny import SETTINGS, base_model, instruction_set

pytestmark = pytest.mark.slow  # TRL takes 13 s to import, in every process


def _train(instance: dg.DagsterInstance, request: dict[str, Any]) -> dict[str, Any]:
    """One run of an asset that asks the worker as `adapters` does."""

    @dg.asset(retry_policy=GOES_ON)
    def trained(context: dg.AssetExecutionContext, worker: Worker) -> dg.MaterializeResult[None]:
        result = worker.run(context, "training", request)
        return dg.MaterializeResult(metadata={n: result[n] or 0 for n in ("adapter_id", "resumed_from_step", "steps")})

    run = dg.materialize([trained], resources={"worker": Worker()}, instance=instance)
    (made,) = run.asset_materializations_for_node("trained")
    return {name: value.value for name, value in made.metadata.items()}


def _kill_when_a_checkpoint_is_there(checkpoints: Path, killed: list[int], is_over: threading.Event) -> None:
    """kill -9 of the process whose parent is this one and that trains, after its third step."""
    # Each checkpoint goes when the next one is whole.
    while not any(int(path.name.removeprefix("checkpoint-")) >= 3 for path in checkpoints.glob("*/checkpoint-*")):
        if is_over.wait(0.01):
            return
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
            command = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and b"fine_tune_assets.training" in command:
            os.kill(int(status.parent.name), signal.SIGKILL)
            killed.append(int(status.parent.name))


def test_a_trainer_that_is_killed_goes_on_in_the_same_run(tmp_path: Path) -> None:
    """The kernel kills for want of memory, and people by mistake: a night's work must not be lost."""
    assert adapters.op.retry_policy == GOES_ON
    base = base_model(tmp_path / "base", 1.0)
    write_table(tmp_path / "set.parquet", instruction_set(train=24, validation=2))
    settings = replace(SETTINGS, epochs=8, dropout=0.1, checkpoint_minutes=0.0)

    def request(name: str) -> dict[str, Any]:
        return {
            "action": "train",
            "instruction_set": str(tmp_path / "set.parquet"),
            "base_folder": str(base),
            "base_fingerprint": fingerprint_folder(base),
            "adapters_dir": str(tmp_path / name / "adapters"),
            "checkpoints_dir": str(tmp_path / name / "checkpoints"),
            "tensorboard_dir": str(tmp_path / name / "tensorboard"),
            "settings": asdict(settings),
            "threads": 1,
        }

    killed: list[int] = []
    is_over = threading.Event()
    killer = threading.Thread(
        target=_kill_when_a_checkpoint_is_there, args=(tmp_path / "b" / "checkpoints", killed, is_over)
    )
    with dg.DagsterInstance.ephemeral() as instance:
        whole = _train(instance, request("a"))
        killer.start()
        resumed = _train(instance, request("b"))
        is_over.set()
        killer.join()
    assert len(killed) == 1
    assert resumed["resumed_from_step"] >= 2
    assert {**resumed, "resumed_from_step": 0} == whole
