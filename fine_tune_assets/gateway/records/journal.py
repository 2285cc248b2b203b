"""Writes a line for each request into the ledger. A caller gets the last byte only when the line is written: no kill loses it.

Owns the group commit: lines that come while a transaction is going on share the next one, so that many requests cost few
transactions. Refusals of nobody known wait for nothing and share a line a second, so that a flood of them fills no disk. The disk
is waited for once a second, or with each transaction where that is asked for.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from fine_tune_assets.ledger.audit.requests import RequestLine, cut_requests, record_requests
from fine_tune_assets.ledger.database import Ledger

WAIT_SECONDS = 10.0
"""For a ledger that is busy; then the answer is refused."""
NOTE_SECONDS = 1.0
SYNC_SECONDS = 1.0
_CUT_SECONDS = 3600.0


class NotWrittenError(Exception):
    """The line could not be written."""


@dataclass(frozen=True)
class Entry:
    line: RequestLine
    budgeted_tokens: int = 0
    """Of a caller with a budget."""
    counted_for: str | None = None
    """Whose budget it is."""


class Journal:
    """Used from one event loop."""

    def __init__(self, ledger: Ledger, keep_days: int, *, syncs_each: bool) -> None:
        self._ledger, self._keep_days, self._syncs_each = ledger, keep_days, syncs_each
        self._is_synced = True
        self._waiting: list[tuple[Entry, asyncio.Future[None] | None]] = []
        self._draining: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._thread = ThreadPoolExecutor(1, "journal")

    async def write(self, entry: Entry) -> None:
        """Return when it is written. Raises NotWrittenError."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, done))
        self._drain_soon()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await asyncio.shield(done)
        except TimeoutError:
            raise NotWrittenError from None

    def note(self, entry: Entry) -> None:
        """Write it within the next second, and wait for nothing."""
        self._waiting.append((entry, None))
        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(NOTE_SECONDS, self._drain_soon)

    async def keep_cutting(self) -> None:
        """Cut off old lines at the start and every hour, until cancelled."""
        while self._keep_days > 0:
            before = datetime.now(UTC) - timedelta(days=self._keep_days)
            with suppress(SQLAlchemyError):
                await asyncio.get_running_loop().run_in_executor(self._thread, cut_requests, self._ledger, before)
            await asyncio.sleep(_CUT_SECONDS)

    async def keep_syncing(self) -> None:
        """Bring what was written onto the disk every second, until cancelled."""
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            await asyncio.to_thread(self._sync)

    def _sync(self) -> None:
        if not self._is_synced:
            self._is_synced = True
            try:
                self._ledger.sync()
            except OSError:  # a disk that fails: said by the next line, which is refused
                self._is_synced = False

    async def close(self) -> None:
        self._drain_soon()
        if self._draining is not None:
            await self._draining
        self._thread.shutdown()
        self._sync()

    def _drain_soon(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._draining is None or self._draining.done():
            self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            error = await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, [e for e, _ in batch])
            for _, done in batch:
                if done is not None and not done.done():
                    done.set_result(None) if error is None else done.set_exception(NotWrittenError())

    def _commit(self, entries: list[Entry]) -> SQLAlchemyError | None:
        tokens: dict[str, int] = {}
        for entry in entries:
            if entry.budgeted_tokens and entry.counted_for is not None:
                tokens[entry.counted_for] = tokens.get(entry.counted_for, 0) + entry.budgeted_tokens
        try:
            lines = folded([e.line for e in entries])
            record_requests(self._ledger, lines, tokens, datetime.now(UTC), is_synced=self._syncs_each)
            self._is_synced = self._syncs_each
        except SQLAlchemyError as error:
            return error
        return None


def folded(lines: list[RequestLine]) -> list[RequestLine]:
    """Lines of nobody known that say the same become one, with their number."""
    found: list[RequestLine] = []
    places: dict[tuple[str, int, str | None], int] = {}
    for line in lines:
        alike = (line.route, line.status, line.code)
        if line.who is not None or alike not in places:
            if line.who is None:
                places[alike] = len(found)
            found.append(line)
        else:
            first = found[places[alike]]
            found[places[alike]] = replace(first, requests=first.requests + line.requests)
    return found
