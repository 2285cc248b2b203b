"""Sketches texts on several cores.

Owns the processes. A sketch depends on its text alone, so their number changes nothing but the time.
"""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import pyarrow as pa

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.processes.parent import die_with_parent
from fine_tune_assets.dedup.sketches import TEXTS_AT_ONCE, Sketches, joined, sketch

_TEXTS_OF_A_TASK = 8 * TEXTS_AT_ONCE
FEWEST_FOR_PROCESSES = 20_000
"""With fewer texts, less than a second of work, a second process costs more to start than it saves."""


class DedupError(FineTuneError):
    """Duplicates could not be looked for."""


class Sketchers:
    """Sketches arrays of texts with `processes` processes; with one, in this process."""

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._pool: ProcessPoolExecutor | None = None

    def sketch(self, texts: pa.Array) -> Sketches:
        """Raises DedupError if a process was killed, mostly for want of memory."""
        if self.processes == 1 or len(texts) <= _TEXTS_OF_A_TASK:
            return sketch(texts)
        # Copied: pyarrow may send the whole array along with a slice of it.
        parts = [pa.concat_arrays([texts.slice(at, _TEXTS_OF_A_TASK)]) for at in range(0, len(texts), _TEXTS_OF_A_TASK)]
        try:
            return joined(list(self._started().map(sketch, parts)))
        except BrokenProcessPool:
            raise DedupError(
                "A process that compares reports was killed, mostly for want of memory. Run it again."
            ) from None

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Else they would wait for work for ever when this process is killed.
            context = multiprocessing.get_context("fork")
            self._pool = ProcessPoolExecutor(self.processes, context, die_with_parent)
        return self._pool

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None


@contextmanager
def open_sketchers(texts: int, processes: int) -> Iterator[Sketchers]:
    """Processes for about that many texts."""
    sketchers = Sketchers(processes if texts >= FEWEST_FOR_PROCESSES else 1)
    try:
        yield sketchers
    finally:
        sketchers.close()
