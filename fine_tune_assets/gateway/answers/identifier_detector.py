"""The detector of identifiers, which is the scrubber of the recipe, in a process of its own.

Loading it takes seconds, and looking must not hold up other requests. Owns the process: one that ended or hangs is replaced.
"""

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any

from fine_tune_assets.core.processes.parent import die_with_parent
from fine_tune_assets.recipes.schema import ScrubSettings

LOOK_SECONDS = 30.0
_AGAIN_SECONDS = 10.0


class Detector:
    """The scrubber in a process of its own. Used from one event loop."""

    def __init__(self, settings: ScrubSettings, load: Callable[[ScrubSettings], None] | None = None) -> None:
        self._settings, self._load = settings, load or _load
        self._pool: ProcessPoolExecutor | None = None
        self._worker = 0
        self._answered_at = 0.0
        self.is_ready = False

    async def keep_ready(self) -> None:
        """Load it, and again when its process died, until cancelled."""
        while True:
            if not self.is_ready:
                self._drop()
                # Spawned: a fork would take over the event loop's sockets.
                context = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(1, context, self._load, (self._settings,))
                try:
                    self._worker = await asyncio.get_running_loop().run_in_executor(self._pool, os.getpid)
                    self.is_ready = True
                except (BrokenProcessPool, OSError):
                    self.is_ready = False
            await asyncio.sleep(_AGAIN_SECONDS if not self.is_ready else 0.2)

    async def count(self, text: str, given: str) -> int | None:
        """Identifiers in the text that do not stand in what was given; None if nobody could look."""
        if not self.is_ready or self._pool is None:
            return None
        asked_at, worker = time.monotonic(), self._worker
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                found = await asyncio.get_running_loop().run_in_executor(self._pool, _count, text, given)
        except TimeoutError:
            # It may be busy with others' answers. One that answered nobody meanwhile hangs, and is replaced.
            if self.is_ready and self._worker == worker and self._answered_at < asked_at:
                self.is_ready = False
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            return None
        except (BrokenProcessPool, OSError, RuntimeError, ValueError):
            self.is_ready = False
            return None
        self._answered_at = time.monotonic()
        return found

    def close(self) -> None:
        self.is_ready = False
        self._drop()

    def _drop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = None


_scrubber: Any = None


def _load(settings: ScrubSettings) -> None:
    global _scrubber
    die_with_parent()
    from fine_tune_assets.phi.scrubbing import build_scrubber

    _scrubber = build_scrubber(settings)


def _count(text: str, given: str) -> int:
    from fine_tune_assets.phi.measurement.answers import new_identifiers

    if not text:
        return 0
    spans = _scrubber.scrub(text, ()).spans
    return len(new_identifiers([(span.label, text[span.start : span.end]) for span in spans], given))
