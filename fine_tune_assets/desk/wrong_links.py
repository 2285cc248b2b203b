"""The limit on wrong one-time links."""

import threading
from collections import deque

WRONG_LINKS = 10
WINDOW_SECONDS = 60.0


class WrongLinks:
    """Counts wrong links. After `WRONG_LINKS` within `WINDOW_SECONDS` none is looked at. Safe to share between threads."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=WRONG_LINKS)
        self._lock = threading.Lock()

    def are_too_many(self, now: float) -> bool:
        with self._lock:
            return len(self._times) == WRONG_LINKS and now - self._times[0] < WINDOW_SECONDS

    def add(self, now: float) -> None:
        with self._lock:
            self._times.append(now)
