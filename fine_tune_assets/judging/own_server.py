"""A server of ours for the time of judging: started when something is asked, gone afterwards.

Owns its folder (key, log, pid file), one a judging process, and that what a killed one left is removed. Does not know the engine.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from fine_tune_assets.engines.chat_client import ChatClient, ChatServer
from fine_tune_assets.engines.running import RunningEngine, stop_engine, wait_until_healthy

START_SECONDS = 1800.0
"""A 70B model is read from the disk first."""
STOP_SECONDS = 20.0
Start = Callable[[Path], RunningEngine]
"""Starts an engine in a folder."""


class OwnServer:
    """One at a time: another one is started when this one is gone, since two may not fit side by side."""

    def __init__(self, run_folder: Path) -> None:
        self._run_folder = run_folder
        self._engine: RunningEngine | None = None

    def start(self, start: Start) -> None:
        """In the thread that outlives all questions: the server ends with it. Raises EngineError."""
        self.stop()
        _remove_left(self._run_folder)
        engine = start(self._run_folder / str(os.getpid()))
        try:
            wait_until_healthy(engine, START_SECONDS)
        except BaseException:
            stop_engine(engine, STOP_SECONDS)  # its log stays: the error names it
            raise
        self._engine = engine

    def client(self, model: str) -> ChatClient:
        """Somebody to ask it as `model`; close it."""
        assert self._engine is not None, "Nothing was started."
        return ChatClient(ChatServer(self._engine.url, self._engine.api_key, model))

    def stop(self) -> None:
        if self._engine is not None:
            stop_engine(self._engine, STOP_SECONDS)
            shutil.rmtree(self._engine.folder, ignore_errors=True)
            self._engine = None


def _remove_left(run_folder: Path) -> None:
    """What judging left that was killed: its server died with it, and the key to it is of no use."""
    for left in run_folder.glob("*"):
        if left.name.isdigit() and not Path(f"/proc/{left.name}").exists():
            shutil.rmtree(left, ignore_errors=True)
