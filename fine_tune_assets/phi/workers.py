"""Runs a scrubber on all cores.

Owns the processes: each builds a scrubber of its own and works on batches. After some batches all are replaced by fresh ones,
so that memory stays flat however many reports come.
"""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from fine_tune_assets.core.processes.parent import die_with_parent
from fine_tune_assets.phi.scrubbing import (
    BATCH_SIZE,
    KnownIdentifiers,
    ScrubbedText,
    Scrubber,
    ScrubberError,
    build_scrubber,
)
from fine_tune_assets.recipes.schema import ScrubSettings

Item = tuple[str, KnownIdentifiers]
BATCHES_OF_A_PROCESS = 250
"""8,000 reports, then a fresh process."""
FEWEST_FOR_PROCESSES = 4 * BATCH_SIZE
"""With fewer texts a second process costs more to start than it saves."""

_scrubber: Scrubber | None = None


class Workers:
    """Scrubs texts, in their order, with `processes` processes; with one, in this process."""

    def __init__(self, settings: ScrubSettings, processes: int) -> None:
        self._settings = settings
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None
        self._batches = 0
        self._own: Scrubber | None = None

    def scrub(self, items: Sequence[Item]) -> list[ScrubbedText]:
        """Raises ScrubberError if a process was killed, mostly for want of memory."""
        if self._processes == 1:
            self._own = self._own or build_scrubber(self._settings)
            return list(self._own.scrub_all(items))
        parts = [items[at : at + BATCH_SIZE] for at in range(0, len(items), BATCH_SIZE)]
        try:
            done = list(self._fresh_pool(len(parts)).map(_scrub, parts))
        except BrokenProcessPool:
            raise ScrubberError(
                "A process of the scrubber was killed, mostly for want of memory. Run it again."
            ) from None
        return [scrubbed for part in done for scrubbed in part]

    def _fresh_pool(self, batches: int) -> ProcessPoolExecutor:
        if self._pool is not None and self._batches > BATCHES_OF_A_PROCESS * self._processes:
            self.close()
        if self._pool is None:
            # Imported in the parent: its processes are forks and take it over, which saves each some seconds.
            import fine_tune_assets.phi.recognizers.presidio_recognizers  # noqa: F401

            context = multiprocessing.get_context("fork")
            self._pool = ProcessPoolExecutor(self._processes, context, _start, (self._settings,))
            self._batches = 0
        self._batches += batches
        return self._pool

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None


@contextmanager
def open_workers(settings: ScrubSettings, texts: int, processes: int | None = None) -> Iterator[Workers]:
    """Workers for about that many texts, on all cores unless `processes` says how many."""
    count = processes or (1 if texts < FEWEST_FOR_PROCESSES else len(os.sched_getaffinity(0)))
    workers = Workers(settings, count)
    try:
        yield workers
    finally:
        workers.close()


def _start(settings: ScrubSettings) -> None:
    global _scrubber
    # Else they would wait for work for ever when this process is killed: each keeps its siblings' pipe open.
    die_with_parent()
    _scrubber = build_scrubber(settings)


def _scrub(items: Sequence[Item]) -> list[ScrubbedText]:
    assert _scrubber is not None
    return list(_scrubber.scrub_all(items))
