"""Keeps a computed value for some seconds, for figures that an open page polls."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class TimedCache(Generic[T]):
    """Thread-safe. Callers that arrive while the value is computed wait for it."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._lock = threading.Lock()
        self._kept: tuple[float, T] | None = None

    def get(self, compute: Callable[[], T]) -> T:
        with self._lock:
            if self._kept is None or self._clock() - self._kept[0] >= self._seconds:
                self._kept = (self._clock(), compute())
            return self._kept[1]
