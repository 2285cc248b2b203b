"""Figures that are counted beside the pages, since over many rows it takes longer than a page may: how well reviewers agree, and
whether the chain of the audit log is sound. Each kind is counted by one thread at a time.
"""

import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from fine_tune_assets.approval.agreement import AgreementReport, measured
from fine_tune_assets.ledger.audit.audit import verify
from fine_tune_assets.ledger.audit.chains import ChainCheck
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import decisions, revocations

_PATIENCE_SECONDS = 0.03
"""How long a page waits for figures: over few rows they are there at once."""


@dataclass(frozen=True)
class Figures:
    report: AgreementReport
    counted_at: datetime
    is_of_now: bool


class AgreementFigures:
    """Safe to share between threads. One counts at a time."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._lock = ledger, threading.Lock()
        self._known: tuple[tuple[int | None, int | None], Figures] | None = None
        self._counting: threading.Thread | None = None

    def latest(self) -> Figures | None:
        """The newest figures that are there; None while the first ones are being counted."""
        seen = self._seen()
        with self._lock:
            if self._known is not None and self._known[0] == seen:
                return self._known[1]
            if self._counting is None or not self._counting.is_alive():
                self._counting = threading.Thread(target=self._count, args=(seen,), daemon=True)
                self._counting.start()
            counting = self._counting
        counting.join(_PATIENCE_SECONDS)
        with self._lock:
            known = self._known
        if known is None:
            return None
        return Figures(known[1].report, known[1].counted_at, is_of_now=known[0] == seen)

    def _seen(self) -> tuple[int | None, int | None]:
        newest = (sa.select(sa.func.max(table.c.sequence)).scalar_subquery() for table in (decisions, revocations))
        with self._ledger.read() as connection:
            made, taken_back = connection.execute(sa.select(*newest)).one()
        return made, taken_back

    def _count(self, seen: tuple[int | None, int | None]) -> None:
        counted_at = datetime.now(UTC)
        report = measured(self._ledger)
        with self._lock:
            self._known = (seen, Figures(report, counted_at, is_of_now=True))


@dataclass(frozen=True)
class Check:
    """One walk along the chain."""

    number: int
    began_at: datetime
    found: ChainCheck | None
    """None while it runs, and where it broke off because the ledger was away."""
    is_running: bool = False


class ChainChecks:
    """Safe to share between threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._lock = ledger, threading.Lock()
        self._last = Check(0, datetime.now(UTC), None)
        self._walking: threading.Thread | None = None

    def begin(self) -> Check:
        """Check the chain now; a check that runs already is the answer."""
        with self._lock:
            if not self._last.is_running:
                self._last = Check(self._last.number + 1, datetime.now(UTC), None, is_running=True)
                self._walking = threading.Thread(target=self._walk, args=(self._last,), daemon=True)
                self._walking.start()
        return self._after_a_moment()

    def of_number(self, number: int) -> Check | None:
        """How the check of this number stands, or a later one; None if this process began none."""
        return self._after_a_moment() if 0 < number <= self._last.number else None

    def _after_a_moment(self) -> Check:
        if self._walking is not None:
            self._walking.join(_PATIENCE_SECONDS)
        with self._lock:
            return self._last

    def _walk(self, begun: Check) -> None:
        found = None
        with suppress(SQLAlchemyError):  # the page says that it broke off
            found = verify(self._ledger)
        with self._lock:
            self._last = Check(begun.number, begun.began_at, found)
