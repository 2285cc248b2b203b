"""A Python that imports what is slow once (TRL takes 13 s) and forks a process for each line that it is sent."""

import os
import subprocess
import sys
from collections.abc import Mapping

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT


class Forking:
    """`program`: what it runs; it reads lines and answers each with lines."""

    def __init__(self, program: str, environment: Mapping[str, str]) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, **OFFLINE_ENVIRONMENT, **environment, "OMP_NUM_THREADS": "1"},
            cwd=PROJECT_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def say(self, line: str) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(line + "\n")
        self._server.stdin.flush()

    def hear(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline()

    def end(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(timeout=30)
