"""A process that ends with the one that started it, so that a killed run leaves nothing behind on a GPU or a core.

Linux only; elsewhere it does nothing.
"""

import ctypes
import multiprocessing
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
PARENT = "FINE_TUNE_PARENT"
"""Environment variable: the process that started this one. The kernel tells nobody of a parent that ended before it was asked
to, and a program of Python comes to ask only when its interpreter is up."""


def parent_variable() -> dict[str, str]:
    """Into the environment of a program that this process starts."""
    return {PARENT: str(os.getpid())}


def die_with_parent() -> None:
    """Be killed when the parent ends, however it ends, or has ended. Is not handed on to processes that are forked later."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        forked_from = multiprocessing.parent_process()
        parent = os.environ.get(PARENT) if forked_from is None else forked_from.pid
        if parent is not None and os.getppid() != int(parent):
            os.kill(os.getpid(), signal.SIGKILL)
