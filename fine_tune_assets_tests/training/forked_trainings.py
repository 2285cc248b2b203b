"""Runs trainings that can be killed, forked from a process that imported the trainer once (13 s)."""

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets_tests.training.fork_runner import ForkServer
from fine_tune_assets_tests.training.tiny_training import base_model, instruction_set

# Imports once, then forks a process for each training. Each writes its step before the next one begins, and a checkpoint after
# each step.
PROGRAM = """
import json, os, sys
from pathlib import Path
import pyarrow.parquet as pq
from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.training.lora.trainer import train_adapter

def train(folder, settings):
    base = folder.parent / "base"
    def write_step(done, total, what):
        (folder / "step").write_text(str(done))
    result = train_adapter(
        pq.read_table(folder / "set.parquet"), base, fingerprint_folder(base), folder / "adapters", folder / "checkpoints",
        TrainingSettings(**settings), 1, write_step,
    )
    summary = {"adapter_id": result.adapter_id, "resumed": result.resumed_from_step, "steps": result.steps, "curve": result.curve,
            "best": result.best_validation_loss, "first": result.first_validation_loss, "far": result.base_kl_divergence}
    (folder / "result.json").write_text(json.dumps(summary))

for line in sys.stdin:
    request = json.loads(line)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            train(Path(request["folder"]), request["settings"])
            code = 0
        finally:
            os._exit(code)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


class Trainings:
    """Runs one training at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._server = ForkServer(PROGRAM, {})

    def run(self, name: str, settings: Any, kill_at: int | None = None) -> dict[str, Any] | None:
        """The result of a completed training; None if it was killed after step `kill_at`."""
        folder = self.root / name
        if not folder.exists():
            folder.mkdir()
            write_table(folder / "set.parquet", instruction_set(train=18, validation=4))
        (folder / "step").write_text("0")
        self._server.send(json.dumps({"folder": str(folder), "settings": asdict(settings)}))
        pid = int(self._server.receive())
        if kill_at is not None:
            while int((folder / "step").read_text() or 0) < kill_at:
                time.sleep(0.001)
            os.kill(pid, signal.SIGKILL)
        status = int(self._server.receive())
        assert os.WTERMSIG(status) == signal.SIGKILL if kill_at is not None else status == 0
        assert (kill_at is None) == any((folder / "adapters").glob("*"))
        return dict(json.loads((folder / "result.json").read_text())) if kill_at is None else None

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture(scope="session")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainings]:
    root = tmp_path_factory.mktemp("resuming")
    base_model(root / "base", 1.0)
    started = Trainings(root)
    yield started
    started.stop()
