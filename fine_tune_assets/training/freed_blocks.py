"""Memory that was freed and that the C library keeps for later: a training on a CPU can hold a fifth less without it.

Owns giving it back. Where the library is not glibc it does nothing.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any


def give_back_freed_blocks() -> None:
    """Before something large is asked for. Takes a few milliseconds."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], Any] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
