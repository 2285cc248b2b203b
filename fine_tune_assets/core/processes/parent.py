"""Kills a process when its parent ends, so that a killed run leaves no process on a GPU or CPU. Linux only."""

import ctypes
import multiprocessing
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
PARENT_VARIABLE = "FINE_TUNE_PARENT"
"""Environment variable with the id of the parent process. Without it, a parent that ended while the Python interpreter was
starting would go unnoticed: the kernel reports only later ends."""


def parent_environment() -> dict[str, str]:
    """Variables to add to the environment of a child process."""
    return {PARENT_VARIABLE: str(os.getpid())}


def die_with_parent() -> None:
    """Kill this process when its parent ends or has already ended. Forked children do not inherit this."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        forked_from = multiprocessing.parent_process()
        parent = os.environ.get(PARENT_VARIABLE) if forked_from is None else forked_from.pid
        if parent is not None and os.getppid() != int(parent):
            os.kill(os.getpid(), signal.SIGKILL)
