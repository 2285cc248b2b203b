"""A process that ends with the one that started it, so that a killed run leaves nothing behind on a GPU or a core.

Linux only; elsewhere it does nothing.
"""

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Be killed when the parent ends, however it ends. Is not handed on to processes that are forked later."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
