"""Runs trainings of one or more ranks that can be killed, forked from a process that imported TRL once (13 s)."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.processes.worker import RESULT, read_response
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.training.distributed.launch import (
    LOOPBACK,
    PROGRESS_FILE,
    REQUEST_FILE,
    STORE_FILE,
    response_file,
)
from fine_tune_assets_tests.training.fork_runner import ForkServer
from fine_tune_assets_tests.training.tiny_training import base_model, instruction_set, train_request

PROGRAM = """
import json, os, sys
from pathlib import Path
import fine_tune_assets.training.lora.trainer
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.processes.worker import handle_request
from fine_tune_assets.training.distributed import launch, rank
from fine_tune_assets.training.distributed.launch import train_in_process

def be(folder, number, count):
    if count == 1:
        request = json.loads((folder / launch.REQUEST_FILE).read_text())
        answer = handle_request(request, train_in_process, launch.progress_writer(folder))
        write_text(launch.response_file(folder, 0), json.dumps(answer))
        return 0
    os.environ.update({"RANK": str(number), "LOCAL_RANK": str(number)})
    os.environ.update({"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)})
    return rank.main(folder)

for line in sys.stdin:
    request = json.loads(line)
    pids = []
    for number in range(request["count"]):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = be(Path(request["folder"]), number, request["count"])
            finally:
                os._exit(code)
        pids.append(pid)
    print(json.dumps(pids), flush=True)
    print(json.dumps([os.waitpid(pid, 0)[1] for pid in pids]), flush=True)
"""


class Ranks:
    """Runs one training at a time on `rows` training examples and three validation examples."""

    def __init__(self, root: Path, rows: int) -> None:
        self._root = root
        self.base = base_model(root / "base", 1.0)
        self.set = root / "set.parquet"
        write_table(self.set, instruction_set(train=rows, validation=3))
        self._server = ForkServer(PROGRAM, LOOPBACK)

    def request(self, name: str, settings: TrainingSettings) -> dict[str, Any]:
        return train_request(self._root, self._root / name, settings)

    def run(self, name: str, settings: TrainingSettings, kill_at: int | None = None) -> dict[str, Any]:
        """The first rank's answer; empty if all ranks were killed after step `kill_at`."""
        folder = self._root / name
        folder.mkdir(exist_ok=True)
        for stale in (STORE_FILE, PROGRESS_FILE):
            (folder / stale).unlink(missing_ok=True)
        (folder / REQUEST_FILE).write_text(json.dumps(self.request(name, settings)))
        self._server.send(json.dumps({"folder": str(folder), "count": settings.processes}))
        pids = self._receive()
        if kill_at is not None:
            while len(_read_progress(folder)) < kill_at:
                time.sleep(0.001)
            for pid in reversed(pids):
                os.kill(pid, signal.SIGKILL)
        assert all(status == (0 if kill_at is None else signal.SIGKILL) for status in self._receive())
        answer = read_response(response_file(folder, 0)) if kill_at is None else {RESULT: {}}
        assert answer is not None
        return dict(answer[RESULT])

    def _receive(self) -> list[int]:
        return [int(number) for number in json.loads(self._server.receive())]

    def stop(self) -> None:
        self._server.stop()


def _read_progress(folder: Path) -> list[str]:
    file = folder / PROGRESS_FILE
    return file.read_text().splitlines() if file.exists() else []
