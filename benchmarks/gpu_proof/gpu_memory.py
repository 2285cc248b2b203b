"""Watches the memory of the first card over all processes. Without a GPU, its figures are None."""

import threading
from types import TracebackType


class MemoryWatch:
    """Records the peak while the block runs."""

    def __init__(self, interval_seconds: float = 0.2) -> None:
        self._interval_seconds, self._is_over = interval_seconds, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_bytes: int | None = None

    def used_bytes(self) -> int | None:
        import torch

        if not torch.cuda.is_available():
            return None
        free, total = torch.cuda.mem_get_info()
        return int(total - free)

    def _watch(self) -> None:
        while True:
            used = self.used_bytes()
            if used is not None:
                self.peak_bytes = max(self.peak_bytes or 0, used)
            if self._is_over.wait(self._interval_seconds):
                return

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()
