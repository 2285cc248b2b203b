"""The figures of reviewers' agreement, counted beside the pages: over many decisions that takes longer than a page may.

Owns when they are counted again: whenever a decision or a revocation came in since. Until then the last ones are shown.
"""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from fine_tune_assets.approval.agreement import AgreementReport, measured
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import decisions, revocations

_PATIENCE_SECONDS = 0.03
"""How long a page waits for new figures: with few decisions they are there at once."""


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
