"""Trainings of one or more ranks, forked from a process that imported TRL once (13 s): each takes seconds, and can be killed."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.processes.worker import RESULT, read_answer
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.training.distributed.launch import LOOPBACK, REQUEST, STORE, TOLD, answer_file
from fine_tune_assets_tests.training.forking import Forking
from fine_tune_assets_tests.training.tiny import base_model, instruction_set, train_request

SERVES = """
import json, os, sys
from pathlib import Path
import fine_tune_assets.training.lora.trainer
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.processes.worker import answer_to
from fine_tune_assets.training.distributed import launch, rank
from fine_tune_assets.training.distributed.launch import train_as_one

def be(folder, number, count):
    if count == 1:
        request = json.loads((folder / launch.REQUEST).read_text())
        write_text(launch.answer_file(folder, 0), json.dumps(answer_to(request, train_as_one, launch.telling(folder))))
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
    """Starts trainings, one at a time, on `rows` training examples and three for validation."""

    def __init__(self, root: Path, rows: int) -> None:
        self._root = root
        self.base = base_model(root / "base", 1.0)
        self.set = root / "set.parquet"
        write_table(self.set, instruction_set(train=rows, validation=3))
        self._server = Forking(SERVES, LOOPBACK)

    def request(self, name: str, settings: TrainingSettings) -> dict[str, Any]:
        return train_request(self._root, self._root / name, settings)

    def run(self, name: str, settings: TrainingSettings, kill_at: int | None = None) -> dict[str, Any]:
        """The first rank's answer; empty if the last rank was killed after that step, and the others with it."""
        folder = self._root / name
        folder.mkdir(exist_ok=True)
        for left in (STORE, TOLD):
            (folder / left).unlink(missing_ok=True)
        (folder / REQUEST).write_text(json.dumps(self.request(name, settings)))
        self._server.say(json.dumps({"folder": str(folder), "count": settings.processes}))
        pids = self._hear()
        if kill_at is not None:
            while len(_told(folder)) < kill_at:
                time.sleep(0.001)
            for pid in reversed(pids):
                os.kill(pid, signal.SIGKILL)
        assert all(status == (0 if kill_at is None else signal.SIGKILL) for status in self._hear())
        answer = read_answer(answer_file(folder, 0)) if kill_at is None else {RESULT: {}}
        assert answer is not None
        return dict(answer[RESULT])

    def _hear(self) -> list[int]:
        return [int(number) for number in json.loads(self._server.hear())]

    def end(self) -> None:
        self._server.end()


def _told(folder: Path) -> list[str]:
    told = folder / TOLD
    return told.read_text().splitlines() if told.exists() else []
