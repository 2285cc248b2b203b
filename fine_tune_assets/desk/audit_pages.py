"""The audit log, for auditors: a page of lines at a time, and whether the chain is sound.

Owns that each check walks the whole chain from its first line: a log that was sound an hour ago may have been changed in its
middle since. It runs beside the pages, one at a time, since over many lines it takes longer than a page may. Owns as well that an
auditor who may also decide does not learn here how others decided on what is still open.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.desk.blindness import examples_to_hide
from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.ledger import audit
from fine_tune_assets.ledger.audit import AuditLine, verify
from fine_tune_assets.ledger.chains import ChainCheck
from fine_tune_assets.ledger.database import Ledger

if TYPE_CHECKING:
    from fine_tune_assets.desk.application import Desk

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


PAGE_LINES = 100
_OUTCOMES = frozenset(f"{verb} {what}" for verb in ("decided", "adjudicated") for what in ("approve", "reject"))
_ABOUT = "example "


def show_audit(desk: "Desk", visit: Visit) -> Response:
    before = visit.number("before")
    rows = audit.newest_lines(desk.ledger, before, PAGE_LINES + 1)
    shown = _without_outcomes(desk, visit, rows[:PAGE_LINES])
    return page(
        desk,
        visit,
        "audit.html",
        rows=shown,
        has_hidden=shown != rows[:PAGE_LINES],
        is_older=len(rows) > PAGE_LINES,
        is_paged=before is not None,
        check=_check(desk, visit),
    )


def _check(desk: "Desk", visit: Visit) -> Check | None:
    """The one that is asked for, or that this page waits for."""
    if visit.query("verify"):
        return desk.chain_checks.begin()
    number = visit.number("check")
    return None if number is None else desk.chain_checks.of_number(number)


def _without_outcomes(desk: "Desk", visit: Visit, rows: Sequence[AuditLine]) -> list[AuditLine]:
    """The lines; of decisions on open items, other people's, only that there was one."""
    decided = {row.about.removeprefix(_ABOUT) for row in rows if row.what in _OUTCOMES}
    hidden = examples_to_hide(desk, visit, decided)
    return [
        replace(row, what=row.what.partition(" ")[0])
        if row.what in _OUTCOMES
        and row.about.removeprefix(_ABOUT) in hidden
        and not is_same_person(row.who, visit.who.name)
        else row
        for row in rows
    ]
