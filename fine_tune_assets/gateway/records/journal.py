"""Writes a line to the ledger for each request, before the caller gets the last byte: a killed process loses none.

Group commit: lines that arrive during a transaction share the next one. Refusals of unknown callers are not waited for, and
equal ones share a line per second, so that a flood of them does not fill the disk. fsync runs once a second, or with each
transaction if `gateway.audit_fsync` is set.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from fine_tune_assets.ledger.audit.request_log import RequestEntry, prune_requests, record_requests
from fine_tune_assets.ledger.database import Ledger

WRITE_TIMEOUT_SECONDS = 10.0
"""Longest wait for a busy ledger; then the request is refused."""
WRITE_DELAY_SECONDS = 1.0
SYNC_INTERVAL_SECONDS = 1.0
_PRUNE_INTERVAL_SECONDS = 3600.0


class JournalWriteError(Exception):
    """The line could not be written."""


@dataclass(frozen=True)
class Entry:
    line: RequestEntry
    budgeted_tokens: int = 0
    """Tokens charged to a daily budget; 0 for callers without one."""
    budget_caller_id: str | None = None


class Journal:
    """Used from one event loop."""

    def __init__(self, ledger: Ledger, keep_days: int, *, sync_each_commit: bool) -> None:
        self._ledger, self._keep_days, self._sync_each_commit = ledger, keep_days, sync_each_commit
        self._is_synced = True
        self._pending: list[tuple[Entry, asyncio.Future[None] | None]] = []
        self._drain_task: asyncio.Task[None] | None = None
        self._drain_timer: asyncio.TimerHandle | None = None
        self._thread = ThreadPoolExecutor(1, "journal")

    async def write(self, entry: Entry) -> None:
        """Return when the line is written. Raises JournalWriteError."""
        done = asyncio.get_running_loop().create_future()
        self._pending.append((entry, done))
        self._schedule_drain()
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
                await asyncio.shield(done)
        except TimeoutError:
            raise JournalWriteError from None

    def write_later(self, entry: Entry) -> None:
        """Schedule the line for the next second, without waiting."""
        self._pending.append((entry, None))
        if self._drain_timer is None:
            self._drain_timer = asyncio.get_running_loop().call_later(WRITE_DELAY_SECONDS, self._schedule_drain)

    async def prune_forever(self) -> None:
        """Delete lines older than the retention period, at the start and every hour, until cancelled."""
        while self._keep_days > 0:
            before = datetime.now(UTC) - timedelta(days=self._keep_days)
            with suppress(SQLAlchemyError):
                await asyncio.get_running_loop().run_in_executor(self._thread, prune_requests, self._ledger, before)
            await asyncio.sleep(_PRUNE_INTERVAL_SECONDS)

    async def sync_forever(self) -> None:
        """Sync the ledger to disk every second, until cancelled."""
        while True:
            await asyncio.sleep(SYNC_INTERVAL_SECONDS)
            await asyncio.to_thread(self._sync)

    def _sync(self) -> None:
        if not self._is_synced:
            self._is_synced = True
            try:
                self._ledger.sync()
            except OSError:  # if the disk has failed, writing the next line fails too, and its request is refused
                self._is_synced = False

    async def close(self) -> None:
        self._schedule_drain()
        if self._drain_task is not None:
            await self._drain_task
        self._thread.shutdown()
        self._sync()

    def _schedule_drain(self) -> None:
        if self._drain_timer is not None:
            self._drain_timer.cancel()
            self._drain_timer = None
        if self._drain_task is None or self._drain_task.done():
            self._drain_task = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        while self._pending:
            batch, self._pending = self._pending, []
            error = await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, [e for e, _ in batch])
            for _, done in batch:
                if done is not None and not done.done():
                    done.set_result(None) if error is None else done.set_exception(JournalWriteError())

    def _commit(self, entries: list[Entry]) -> SQLAlchemyError | None:
        tokens: dict[str, int] = {}
        for entry in entries:
            if entry.budgeted_tokens and entry.budget_caller_id is not None:
                tokens[entry.budget_caller_id] = tokens.get(entry.budget_caller_id, 0) + entry.budgeted_tokens
        try:
            lines = merge_anonymous([e.line for e in entries])
            record_requests(self._ledger, lines, tokens, datetime.now(UTC), is_durable=self._sync_each_commit)
            self._is_synced = self._sync_each_commit
        except SQLAlchemyError as error:
            return error
        return None


def merge_anonymous(lines: list[RequestEntry]) -> list[RequestEntry]:
    """Merge equal lines of unknown callers into one with a request count."""
    merged: list[RequestEntry] = []
    positions: dict[tuple[str, int, str | None], int] = {}
    for line in lines:
        group = (line.route, line.status, line.code)
        if line.caller is not None or group not in positions:
            if line.caller is None:
                positions[group] = len(merged)
            merged.append(line)
        else:
            first = merged[positions[group]]
            merged[positions[group]] = replace(first, request_count=first.request_count + line.request_count)
    return merged
