"""Runs scrubbers in parallel on all cores.

Each process builds its own scrubber and works on batches. The pool is recycled after a number of batches, so that memory stays
flat.
"""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from fine_tune_assets.core.processes.parent import die_with_parent
from fine_tune_assets.phi.scrubber import (
    BATCH_SIZE,
    KnownIdentifiers,
    ScrubbedText,
    Scrubber,
    ScrubberError,
    build_scrubber,
)
from fine_tune_assets.recipes.schema import ScrubberSettings

ScrubItem = tuple[str, KnownIdentifiers]
MAX_BATCHES_PER_PROCESS = 250
"""8,000 reports."""
MIN_TEXTS_FOR_PROCESSES = 4 * BATCH_SIZE
"""Below this number, starting a second process costs more than it saves."""

_scrubber: Scrubber | None = None


class ScrubWorkers:
    """Scrubs texts in order with `processes` processes; one means the current process."""

    def __init__(self, settings: ScrubberSettings, processes: int) -> None:
        self._settings = settings
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None
        self._batches = 0
        self._local_scrubber: Scrubber | None = None

    def scrub(self, items: Sequence[ScrubItem]) -> list[ScrubbedText]:
        """Raises ScrubberError if a process was killed, usually for lack of memory."""
        if self._processes == 1:
            self._local_scrubber = self._local_scrubber or build_scrubber(self._settings)
            return list(self._local_scrubber.scrub_all(items))
        parts = [items[at : at + BATCH_SIZE] for at in range(0, len(items), BATCH_SIZE)]
        try:
            done = list(self._get_pool(len(parts)).map(_scrub_batch, parts))
        except BrokenProcessPool:
            raise ScrubberError(
                "A scrubber process was killed, probably for lack of memory. Free memory, then run the step again."
            ) from None
        return [scrubbed for part in done for scrubbed in part]

    def _get_pool(self, batches: int) -> ProcessPoolExecutor:
        if self._pool is not None and self._batches > MAX_BATCHES_PER_PROCESS * self._processes:
            self.close()
        if self._pool is None:
            # Imported in the parent: forked children inherit it, which saves each one several seconds.
            import fine_tune_assets.phi.recognizers.presidio_recognizers  # noqa: F401

            context = multiprocessing.get_context("fork")
            self._pool = ProcessPoolExecutor(self._processes, context, _init_process, (self._settings,))
            self._batches = 0
        self._batches += batches
        return self._pool

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None


@contextmanager
def open_workers(settings: ScrubberSettings, text_count: int, processes: int | None = None) -> Iterator[ScrubWorkers]:
    """Workers for about `text_count` texts, on all cores unless `processes` is set."""
    count = processes or (1 if text_count < MIN_TEXTS_FOR_PROCESSES else len(os.sched_getaffinity(0)))
    workers = ScrubWorkers(settings, count)
    try:
        yield workers
    finally:
        workers.close()


def _init_process(settings: ScrubberSettings) -> None:
    global _scrubber
    # Without this, workers outlive a killed parent: each keeps its siblings' pipe open and waits for work.
    die_with_parent()
    _scrubber = build_scrubber(settings)


def _scrub_batch(items: Sequence[ScrubItem]) -> list[ScrubbedText]:
    assert _scrubber is not None
    return list(_scrubber.scrub_all(items))
