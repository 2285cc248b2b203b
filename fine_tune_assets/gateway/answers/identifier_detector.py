"""Runs the recipe's scrubber in a separate process to find identifiers in answers.

Loading takes seconds, and scanning must not block other requests. A process that died or hangs is replaced.
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
from functools import partial
from typing import Any

from fine_tune_assets.core.line_names import LINE_VARIABLE
from fine_tune_assets.core.processes.parent import die_with_parent
from fine_tune_assets.recipes.schema import ScrubberSettings

SCAN_TIMEOUT_SECONDS = 30.0
_RETRY_SECONDS = 10.0


class Detector:
    """The scrubber in a separate process. Used from one event loop."""

    def __init__(
        self, settings: ScrubberSettings, load: Callable[[ScrubberSettings], None] | None = None, line: str = ""
    ) -> None:
        """`line`: the product line whose domain pack and tagger are used."""
        self._settings, self._load = settings, load or partial(_load_scrubber, line=line)
        self._pool: ProcessPoolExecutor | None = None
        self._worker = 0
        self._answered_at = 0.0
        self.is_ready = False

    async def keep_ready(self) -> None:
        """Load the scrubber, and reload it when its process dies, until cancelled."""
        while True:
            if not self.is_ready:
                self._shut_down()
                # Spawned: a fork would take over the event loop's sockets.
                context = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(1, context, self._load, (self._settings,))
                try:
                    self._worker = await asyncio.get_running_loop().run_in_executor(self._pool, os.getpid)
                    self.is_ready = True
                except (BrokenProcessPool, OSError):
                    self.is_ready = False
            await asyncio.sleep(_RETRY_SECONDS if not self.is_ready else 0.2)

    async def count(self, text: str, prompt_text: str) -> int | None:
        """Number of identifiers in `text` that are not in `prompt_text`; None if the text was not scanned."""
        if not self.is_ready or self._pool is None:
            return None
        sent_at, worker = time.monotonic(), self._worker
        try:
            async with asyncio.timeout(SCAN_TIMEOUT_SECONDS):
                found = await asyncio.get_running_loop().run_in_executor(
                    self._pool, _count_identifiers, text, prompt_text
                )
        except TimeoutError:
            # The worker may be busy with other answers. It hangs only if it has finished none since.
            if self.is_ready and self._worker == worker and self._answered_at < sent_at:
                self.is_ready = False
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            return None
        except Exception:  # noqa: BLE001 (whatever failed: an answer that was not scanned must not pass)
            self.is_ready = False
            return None
        self._answered_at = time.monotonic()
        return found

    def close(self) -> None:
        self.is_ready = False
        self._shut_down()

    def _shut_down(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = None


_scrubber: Any = None
_indirect_kinds: frozenset[str] = frozenset()


def _load_scrubber(settings: ScrubberSettings, line: str) -> None:
    global _scrubber, _indirect_kinds
    die_with_parent()
    os.environ[LINE_VARIABLE] = line
    from fine_tune_assets.phi.scrubber import build_scrubber
    from fine_tune_assets.recipes.domain_packs import load_pack

    _scrubber = build_scrubber(settings)
    _indirect_kinds = load_pack(settings.domain).pack.indirect_kinds


def _count_identifiers(text: str, prompt_text: str) -> int:
    from fine_tune_assets.phi.measurement.answer_scan import find_new_identifiers

    if not text:
        return 0
    spans = _scrubber.scrub(text, ()).spans
    values = [(span.label, text[span.start : span.end]) for span in spans]
    return len(find_new_identifiers(values, prompt_text, _indirect_kinds))
