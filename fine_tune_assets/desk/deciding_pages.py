"""What a reviewer does with an item: approve, reject, skip, or say that an identifier is left in it.

Owns that a refusal keeps what was typed. What may be decided, and whether the item changed meanwhile, is `approval`'s.
"""

from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.responses import Response

from fine_tune_assets.approval.drafting import CORRECTION
from fine_tune_assets.approval.reviewing import NotAllowedError, ReviewError, StaleItemError, decide
from fine_tune_assets.desk.item_pages import Opened, find_opened, render_item, take
from fine_tune_assets.desk.marked_text import word_diff
from fine_tune_assets.desk.queue_filter import query_of_visit
from fine_tune_assets.desk.rendering import go_to, page
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.ledger.errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.review_items import AssignedError, find_item, release_claim
from fine_tune_assets.phi.marking import MarkError, mark_missed

if TYPE_CHECKING:
    from fine_tune_assets.desk.application import Desk

_NO_REPORT = "This draft was made of a user's correction and has no report. Reject it: an identifier is left in."
_SAID = {"approve": "approved", "reject": "rejected"}


def decide_item(desk: "Desk", visit: Visit) -> Response:
    """Record the signed decision, and go on to the next item."""
    opened, form = find_opened(desk, visit), visit.form
    decision = "reject" if form.text("decision") == "reject" else "approve"
    version = form.text("version")
    try:
        decide(
            desk.ledger,
            opened.draft,
            version=int(version) if version.isdecimal() and len(version) < 10 else -1,
            reviewer=visit.who.name,
            decision=decision,
            output=form.text("output") if decision == "approve" else None,
            reason_code=form.text("reason_code") if decision == "reject" else "",
            reason=form.text("reason"),
            meaning=form.text("meaning"),
            rules=desk.rules(),
            author=opened.author,
            now=visit.now,
        )
    except (StaleItemError, AssignedError, NotAllowedError) as error:
        return _conflict_page(desk, visit, opened, str(error))
    except ReviewError as error:
        return _again(desk, visit, opened, str(error))
    return go_to(query_of_visit(visit).address("/queue/next", after=opened.item.example_id, said=_SAID[decision]))


def skip_item(desk: "Desk", visit: Visit) -> Response:
    """Give the item back, and go on."""
    example_id = visit.path("example_id")
    # Somebody else has it by now, or it is gone: either way it is not this reviewer's any more.
    with suppress(AssignedError, UnknownRecordError):
        release_claim(desk.ledger, example_id, visit.who.name, now=visit.now)
    return go_to(query_of_visit(visit).address("/queue/next", after=example_id, said="skipped"))


def mark_identifier(desk: "Desk", visit: Visit) -> Response:
    """Hold the report back at once: from now on nothing of it is shown, approved or trained on until it is scrubbed again."""
    opened = find_opened(desk, visit)
    if opened.draft["source"] == CORRECTION:
        return _again(desk, visit, opened, _NO_REPORT)
    try:
        mark_missed(
            desk.ledger,
            desk.key,
            desk.settings.layout,
            report_id=opened.draft["report_id"],
            kind=visit.form.text("kind"),
            term=visit.form.text("term"),
            marked_by=visit.who.name,
        )
    except (MarkError, LedgerError) as error:
        return _again(desk, visit, opened, str(error))
    return go_to(query_of_visit(visit).address("/queue/next", after=opened.item.example_id, said="marked"))


def _again(desk: "Desk", visit: Visit, opened: Opened, refusal: str) -> Response:
    """The same item with what was typed, and why it was not taken."""
    try:
        item = take(desk, visit, opened)
    except AssignedError as error:
        return _conflict_page(desk, visit, opened, str(error))
    typed = visit.form.text("output")
    return render_item(
        desk, visit, Opened(item, opened.draft, opened.author), typed=typed or None, refusal=refusal, status=400
    )


def _conflict_page(desk: "Desk", visit: Visit, opened: Opened, refusal: str) -> Response:
    typed = visit.form.text("output")
    return page(
        desk,
        visit,
        "conflict.html",
        status=409,
        item=find_item(desk.ledger, opened.item.example_id) or opened.item,
        refusal=refusal,
        typed=typed,
        diff=word_diff(opened.draft["output"], typed.strip()) if typed else [],
        query=query_of_visit(visit),
    )
