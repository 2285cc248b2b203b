"""Checks of the audit log's chain, run beside the pages: over many lines that takes longer than a page may.

Owns that each check walks the whole chain from its first line: a log that was sound an hour ago may have been changed in its
middle since, so nothing is carried over from the check before. And that one runs at a time.
"""

import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError

from fine_tune_assets.ledger.audit import verify
from fine_tune_assets.ledger.chains import ChainCheck
from fine_tune_assets.ledger.database import Ledger

_PATIENCE_SECONDS = 0.03
"""How long a page waits for it: a short log is checked at once."""


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
