"""The audit log, for auditors: a page of lines at a time, and whether the chain is sound.

Owns that each check walks the whole chain from its first line: a log that was sound an hour ago may have been changed in its
middle since. It runs beside the pages, one at a time, since over many lines it takes longer than a page may. Owns as well that an
auditor who may also decide does not learn here how others decided on what is still open.
"""

from collections.abc import Sequence
from dataclasses import replace

from starlette.responses import Response

from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.background_figures import Check
from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.visits import Visit, examples_to_hide
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.audit.audit import AuditLine

PAGE_LINES = 100
_OUTCOMES = frozenset(f"{verb} {what}" for verb in ("decided", "adjudicated") for what in ("approve", "reject"))
_ABOUT = "example "


def show_audit(desk: Desk, visit: Visit) -> Response:
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


def _check(desk: Desk, visit: Visit) -> Check | None:
    """The one that is asked for, or that this page waits for."""
    if visit.query("verify"):
        return desk.chain_checks.begin()
    number = visit.number("check")
    return None if number is None else desk.chain_checks.of_number(number)


def _without_outcomes(desk: Desk, visit: Visit, rows: Sequence[AuditLine]) -> list[AuditLine]:
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
