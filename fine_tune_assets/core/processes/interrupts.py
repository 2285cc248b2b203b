"""Lets a command clean up after SIGINT and SIGTERM, whatever it is doing when the signal arrives."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

_REPEAT_SECONDS: Final = 0.05


@contextmanager
def reliable_interrupts() -> Iterator[None]:
    """Within the context, SIGTERM raises KeyboardInterrupt too, and one that a finalizer swallows is raised again.

    Python ignores an exception in a finalizer or in the callback of a weak reference, and the interrupt would be lost. Call it
    in the main thread.
    """
    hook, before = sys.unraisablehook, {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}

    def repeat_interrupt(ignored: Any) -> None:
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, _REPEAT_SECONDS)
        else:
            hook(ignored)

    for number in before:
        signal.signal(number, signal.default_int_handler)
    sys.unraisablehook = repeat_interrupt
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
