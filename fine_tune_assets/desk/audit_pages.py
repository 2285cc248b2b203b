"""The audit log, for auditors: a page of lines at a time, and whether the chain is sound."""

from typing import TYPE_CHECKING

from starlette.responses import Response

from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.ledger import audit

if TYPE_CHECKING:
    from fine_tune_assets.desk.application import Desk

PAGE_LINES = 100


def show_audit(desk: "Desk", visit: Visit) -> Response:
    asked = visit.query("before")
    before = int(asked) if asked.isdecimal() and len(asked) < 16 else None
    rows = audit.newest_lines(desk.ledger, before, PAGE_LINES + 1)
    return page(
        desk,
        visit,
        "audit.html",
        rows=rows[:PAGE_LINES],
        is_older=len(rows) > PAGE_LINES,
        is_paged=before is not None,
        check=audit.verify(desk.ledger) if visit.query("verify") else None,
    )
