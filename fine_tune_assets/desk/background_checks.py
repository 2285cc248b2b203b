"""Computes reviewer agreement, verifies the audit log's hash chain and asks Dagster for closed gates, each in its own thread.

Each takes longer than a page may.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from fine_tune_assets.approval.reviewer_agreement import AgreementSummary, read_agreement
from fine_tune_assets.desk.asset_failures import AssetFailure, list_closed_gates
from fine_tune_assets.ledger.audit.audit_log import verify_entries
from fine_tune_assets.ledger.audit.chains import ChainCheck
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import decisions, revocations

_MAX_WAIT_SECONDS = 0.03
"""How long a page waits for a result. With few rows, it is ready within this time."""

_GATE_SECONDS = 60.0
"""How long a page shows the gates that Dagster named last."""


@dataclass(frozen=True)
class AgreementSnapshot:
    report: AgreementSummary
    counted_at: datetime
    is_current: bool


class AgreementMonitor:
    """Thread-safe cache of the agreement summary, computed by one thread at a time."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._lock = ledger, threading.Lock()
        self._cached: tuple[tuple[int | None, int | None], AgreementSnapshot] | None = None
        self._thread: threading.Thread | None = None

    def latest(self) -> AgreementSnapshot | None:
        """The newest available figures; None while the first ones are being computed."""
        seen = self._read_ledger_state()
        with self._lock:
            if self._cached is not None and self._cached[0] == seen:
                return self._cached[1]
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._count, args=(seen,), daemon=True)
                self._thread.start()
            counting = self._thread
        counting.join(_MAX_WAIT_SECONDS)
        with self._lock:
            known = self._cached
        if known is None:
            return None
        return AgreementSnapshot(known[1].report, known[1].counted_at, is_current=known[0] == seen)

    def _read_ledger_state(self) -> tuple[int | None, int | None]:
        newest = (sa.select(sa.func.max(table.c.sequence)).scalar_subquery() for table in (decisions, revocations))
        with self._ledger.read() as connection:
            decided, taken_back = connection.execute(sa.select(*newest)).one()
        return decided, taken_back

    def _count(self, seen: tuple[int | None, int | None]) -> None:
        counted_at = datetime.now(UTC)
        report = read_agreement(self._ledger)
        with self._lock:
            self._cached = (seen, AgreementSnapshot(report, counted_at, is_current=True))


@dataclass(frozen=True)
class ChainCheckRun:
    """One verification of the chain."""

    number: int
    started_at: datetime
    result: ChainCheck | None
    """None while it runs, or if the ledger became unavailable."""
    is_running: bool = False


class ChainVerifier:
    """Verifies the audit log's chain, one run at a time. Thread-safe."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._lock = ledger, threading.Lock()
        self._last = ChainCheckRun(0, datetime.now(UTC), None)
        self._thread: threading.Thread | None = None

    def start(self) -> ChainCheckRun:
        """Start a verification, or return the one that is running."""
        with self._lock:
            if not self._last.is_running:
                self._last = ChainCheckRun(self._last.number + 1, datetime.now(UTC), None, is_running=True)
                self._thread = threading.Thread(target=self._verify_chain, args=(self._last,), daemon=True)
                self._thread.start()
        return self._wait_briefly()

    def find_run(self, number: int) -> ChainCheckRun | None:
        """The run with this number or a later one; None if this process started no such run."""
        return self._wait_briefly() if 0 < number <= self._last.number else None

    def _wait_briefly(self) -> ChainCheckRun:
        if self._thread is not None:
            self._thread.join(_MAX_WAIT_SECONDS)
        with self._lock:
            return self._last

    def _verify_chain(self, begun: ChainCheckRun) -> None:
        found = None
        with suppress(SQLAlchemyError):  # `result` stays None, and the page reports the failure
            found = verify_entries(self._ledger)
        with self._lock:
            self._last = ChainCheckRun(begun.number, begun.started_at, found)


class GateMonitor:
    """The closed gates of a product line, as Dagster's webserver named them last. Thread-safe."""

    def __init__(self, run_folder: Path, line: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._run_folder, self._line, self._clock = run_folder, line, clock
        self._lock = threading.Lock()
        self._asked_at: float | None = None
        self._closed: list[AssetFailure] = []
        self._thread: threading.Thread | None = None

    def latest(self) -> list[AssetFailure]:
        """Empty until Dagster has answered, and while it does not answer."""
        with self._lock:
            is_due = self._asked_at is None or self._clock() - self._asked_at >= _GATE_SECONDS
            if is_due and (self._thread is None or not self._thread.is_alive()):
                self._asked_at = self._clock()
                self._thread = threading.Thread(target=self._ask, daemon=True)
                self._thread.start()
            asking = self._thread
        if asking is not None:
            asking.join(_MAX_WAIT_SECONDS)
        return self._closed

    def _ask(self) -> None:
        closed: list[AssetFailure] = []
        with suppress(httpx.HTTPError):  # the card about failed runs and checks says so
            closed = list_closed_gates(self._run_folder, self._line)
        self._closed = closed
