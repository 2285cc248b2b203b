"""A reviewer's own decisions, and taking one back.

Owns who may revoke: whoever made the decision, or an approver. What follows from it is `approval`'s.
"""

from typing import TYPE_CHECKING

from starlette.responses import Response

from fine_tune_assets.approval.reviewing import revoke
from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.desk.errors import forbidden, not_found
from fine_tune_assets.desk.rendering import go_to, page
from fine_tune_assets.desk.sign_in_pages import safe_path
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.ledger.errors import LedgerError
from fine_tune_assets.ledger.own_decisions import own_decisions
from fine_tune_assets.ledger.reviews import find_decision

if TYPE_CHECKING:
    from fine_tune_assets.desk.application import Desk

PAGE_LINES = 50


def show_decisions(desk: "Desk", visit: Visit) -> Response:
    return _decisions_page(desk, visit)


def revoke_decision(desk: "Desk", visit: Visit) -> Response:
    decision_id = visit.path("decision_id")
    with desk.ledger.read() as connection:
        found = find_decision(connection, decision_id)
    if found is None:
        raise not_found()
    is_own = is_same_person(found.decision.reviewer, visit.who.name)
    if not is_own and "approver" not in visit.who.roles:
        raise forbidden()
    reason = visit.form.text("reason")
    try:
        revoke(desk.ledger, decision_id, by=visit.who.name, reason=reason, rules=desk.rules(), now=visit.now)
    except LedgerError as error:
        return _decisions_page(desk, visit, refusal=str(error))
    return go_to((safe_path(visit.form.text("back")) or "/decisions") + "?said=revoked")


def _decisions_page(desk: "Desk", visit: Visit, refusal: str = "") -> Response:
    asked = visit.query("before")
    before = int(asked) if asked.isdecimal() and len(asked) < 16 else None
    rows = own_decisions(desk.ledger, visit.who.name, before=before, limit=PAGE_LINES + 1)
    return page(
        desk,
        visit,
        "decisions.html",
        status=400 if refusal else 200,
        rows=rows[:PAGE_LINES],
        is_older=len(rows) > PAGE_LINES,
        is_paged=before is not None,
        refusal=refusal,
    )
