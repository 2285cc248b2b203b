"""Sketches texts in several processes.

A sketch depends only on its text, so the number of processes affects only the time.
"""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import pyarrow as pa

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.processes.parent import die_with_parent
from fine_tune_assets.dedup.sketches import BLOCK_TEXTS, Sketches, concatenate_sketches, sketch_texts

_TASK_TEXTS = 8 * BLOCK_TEXTS
MIN_PARALLEL_TEXTS = 20_000
"""Fewer texts take less than a second, so starting a process costs more than it saves."""


class DedupError(FineTuneError):
    """The search for duplicates failed."""


class SketchPool:
    """Sketches arrays of texts with `processes` processes; with one, in this process."""

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._pool: ProcessPoolExecutor | None = None

    def sketch(self, texts: pa.Array) -> Sketches:
        """Raises DedupError if a process was killed, usually for lack of memory."""
        if self.processes == 1 or len(texts) <= _TASK_TEXTS:
            return sketch_texts(texts)
        # Copied, because pyarrow may pickle a slice together with its whole array.
        parts = [pa.concat_arrays([texts.slice(at, _TASK_TEXTS)]) for at in range(0, len(texts), _TASK_TEXTS)]
        try:
            return concatenate_sketches(list(self._ensure_pool().map(sketch_texts, parts)))
        except BrokenProcessPool:
            raise DedupError("A worker process was killed, usually for lack of memory. Run the step again.") from None

    def _ensure_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Otherwise they would wait for work indefinitely if this process is killed.
            context = multiprocessing.get_context("fork")
            self._pool = ProcessPoolExecutor(self.processes, context, die_with_parent)
        return self._pool

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None


@contextmanager
def open_sketch_pool(texts: int, processes: int) -> Iterator[SketchPool]:
    """Open a pool for about this many texts."""
    sketchers = SketchPool(processes if texts >= MIN_PARALLEL_TEXTS else 1)
    try:
        yield sketchers
    finally:
        sketchers.close()
