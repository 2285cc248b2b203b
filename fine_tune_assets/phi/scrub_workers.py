"""Runs scrubbers in separate processes, with a limit of CPU time for each text.

A text that takes longer, or that ends its process, is tried twice and then reported as not scrubbed; the others are unaffected.
The pool is recycled after a number of batches, so that memory stays flat.
"""

import multiprocessing
import os
import resource
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from fine_tune_assets.core.processes.confinement import limit_cpu_time
from fine_tune_assets.core.processes.parent import die_with_parent
from fine_tune_assets.phi.scrubber import (
    BATCH_SIZE,
    NOT_SCRUBBED,
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
TRIES = 2
_SHORT_ITEM: ScrubItem = ("She rests.", ())
MIN_LIMIT_SECONDS = 10
CHARACTERS_PER_SECOND = 2_000
"""An ordinary text takes a second of CPU time for 30,000 characters, one of punctuation alone for 8,000."""
_SECONDS_UNTIL_KILLED = 30
"""CPU seconds after the limit at which the kernel ends the process, in case that native code does not return."""

_scrubber: Scrubber | None = None
_failure = ""


class _TimeLimitError(BaseException):
    """Not an Exception, so that no library catches it."""


class ScrubWorkers:
    """Scrubs texts in order with `processes` processes."""

    def __init__(self, settings: ScrubberSettings, processes: int) -> None:
        self._settings = settings
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None
        self._batches = 0

    def scrub(self, items: Sequence[ScrubItem]) -> list[ScrubbedText]:
        """A text that could not be scrubbed comes back empty, with `NOT_SCRUBBED` as residual PHI.

        Raises ScrubberError if no scrubber can be built, or if even a short text ends its process.
        """
        parts = [range(at, min(at + BATCH_SIZE, len(items))) for at in range(0, len(items), BATCH_SIZE)]
        done = self._try(items, parts)
        tries = Counter(list(done))
        # One by one, so that a process that ends costs the text that ended it.
        for index in range(len(items)):
            while done.get(index) is None and tries[index] < TRIES:
                tries[index] += 1
                done |= self._try(items, [range(index, index + 1)])
        if items and not done and not self._try([_SHORT_ITEM], [range(1)]):
            raise ScrubberError(
                "The scrubber processes were killed, probably for lack of memory. Free memory, then run the step again."
            )
        unscrubbed = ScrubbedText("", (), {NOT_SCRUBBED: 1})
        return [done.get(index) or unscrubbed for index in range(len(items))]

    def _try(self, items: Sequence[ScrubItem], parts: Sequence[range]) -> dict[int, ScrubbedText | None]:
        """Index → result, or None above the limit. If a process ends, the texts that were not complete are missing."""
        done: dict[int, ScrubbedText | None] = {}
        pool = self._get_pool(len(parts))
        try:
            started = [(part, pool.submit(_scrub_batch, items[part.start : part.stop])) for part in parts]
            for part, future in started:
                done |= zip(part, future.result(), strict=True)
        except BrokenProcessPool:
            self.close()
        return done

    def _get_pool(self, batches: int) -> ProcessPoolExecutor:
        if self._pool is not None and self._batches > MAX_BATCHES_PER_PROCESS * self._processes:
            self.close()
        if self._pool is None:
            # Imported in the parent: forked children inherit it, which saves each one several seconds.
            import fine_tune_assets.phi.recognizers.presidio_recognizers  # noqa: F401

            context = multiprocessing.get_context("fork")
            self._pool = ProcessPoolExecutor(self._processes, context, _init_process, (self._settings,))
            self._batches = 0
            if failure := self._pool.submit(_read_failure).result():
                self.close()
                raise ScrubberError(failure)
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


def compute_limit(text: str) -> int:
    """CPU seconds for one text."""
    return MIN_LIMIT_SECONDS + len(text) // CHARACTERS_PER_SECOND


def _init_process(settings: ScrubberSettings) -> None:
    global _scrubber, _failure
    # Without this, workers outlive a killed parent: each keeps its siblings' pipe open and waits for work.
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would contain the text
    signal.signal(signal.SIGPROF, _raise_time_limit)
    try:
        _scrubber = build_scrubber(settings)
    except ScrubberError as error:
        _failure = str(error)


def _read_failure() -> str:
    return _failure


def _scrub_batch(items: Sequence[ScrubItem]) -> list[ScrubbedText | None]:
    return [_scrub_within_limit(*item) for item in items]


def _scrub_within_limit(text: str, known: KnownIdentifiers) -> ScrubbedText | None:
    """None above the limit."""
    assert _scrubber is not None
    limit = compute_limit(text)
    limit_cpu_time(limit + _SECONDS_UNTIL_KILLED)
    try:
        signal.setitimer(signal.ITIMER_PROF, limit)
        return _scrubber.scrub(text, known)
    except _TimeLimitError:
        return None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _raise_time_limit(*_: Any) -> None:
    raise _TimeLimitError
