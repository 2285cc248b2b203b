"""A Python process that does slow imports once (TRL takes 13 s) and forks a process for each line that it receives."""

import os
import subprocess
import sys
from collections.abc import Mapping

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT


class ForkServer:
    """`program` reads lines and answers each with lines."""

    def __init__(self, program: str, environment: Mapping[str, str]) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, **OFFLINE_ENVIRONMENT, **environment, "OMP_NUM_THREADS": "1"},
            cwd=PROJECT_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, line: str) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(line + "\n")
        self._server.stdin.flush()

    def receive(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline()

    def stop(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(timeout=30)
