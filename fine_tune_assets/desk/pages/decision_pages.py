"""What a reviewer does with an item (approve, reject, skip, or say that an identifier is left in it), and with a decision:
reading one's own and taking one back.

Owns that a refusal keeps what was typed, and who may revoke: whoever made the decision, or an approver. What may be decided,
whether the item changed meanwhile, and what follows from a revocation is `approval`'s.
"""

from contextlib import suppress

from starlette.responses import Response

from fine_tune_assets.approval.drafts import CORRECTION
from fine_tune_assets.approval.review_actions import decide, revoke
from fine_tune_assets.approval.signatures import NotAllowedError, ReviewError, StaleItemError, Word
from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.errors import forbidden, not_found
from fine_tune_assets.desk.pages.item_pages import Opened, find_opened, open_item, signing_of
from fine_tune_assets.desk.pages.marked_text import word_diff
from fine_tune_assets.desk.pages.queue_pages import query_of_visit
from fine_tune_assets.desk.pages.sign_in_pages import safe_path
from fine_tune_assets.desk.rendering import go_to, page
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.ledger.errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.reviews.review_items import AssignedError, find_item, release_claim
from fine_tune_assets.ledger.reviews.reviews import find_decision, own_decisions
from fine_tune_assets.phi.missed_identifiers.marks import MarkError, is_seen, mark_missed
from fine_tune_assets.phi.spans.kinds import KINDS

PAGE_LINES = 50
_LONGEST_TERM = 500
_NO_REPORT = "This draft was made of a user's correction, which has no report. Reject it: an identifier is left."
_NOT_SEEN = (
    "Nothing was marked: the report does not show that as whole words. Mark it as it stands in the report. A name that only "
    "the input or the output shows is an invented one; if it is not, reject the item: an identifier is left."
)
"""The same whatever the raw report holds."""
_SAID = {"approve": "approved", "reject": "rejected"}


def decide_item(desk: Desk, visit: Visit) -> Response:
    """Record the signed decision, and go on to the next item."""
    opened, form = find_opened(desk, visit), visit.form
    decision = "reject" if form.text("decision") == "reject" else "approve"
    version = form.number("version")
    try:
        if decision == "approve":
            _require_seen(opened, form.text("output"), form.text("signed"), visit.who.name)
        word = Word(
            reviewer=visit.who.name,
            role="review",
            decision=decision,
            output=form.text("output") if decision == "approve" else None,
            reason_code=form.text("reason_code") if decision == "reject" else "",
            reason=form.text("reason"),
            meaning=form.text("meaning"),
        )
        decide(
            desk.ledger,
            opened.draft,
            word,
            version=-1 if version is None else version,
            rules=desk.rules(),
            author=opened.author,
            now=visit.now,
        )
    except (StaleItemError, AssignedError, NotAllowedError) as error:
        return _conflict_page(desk, visit, opened, str(error))
    except ReviewError as error:
        return _again(desk, visit, opened, str(error))
    return go_to(query_of_visit(visit).address("/queue/next", after=opened.item.example_id, said=_SAID[decision]))


def _require_seen(opened: Opened, output: str, signed: str, reviewer: str) -> None:
    """Raise ReviewError unless exactly what is to be recorded is what was shown to be signed."""
    if signing_of(opened.draft, output, reviewer).fingerprint != signed:
        raise ReviewError(
            "What came is not the text that was shown to you to sign. Nothing was recorded: read it again."
        )


def skip_item(desk: Desk, visit: Visit) -> Response:
    """Give the item back, and go on."""
    example_id = visit.path("example_id")
    # Somebody else has it by now, or it is gone: either way it is not this reviewer's any more.
    with suppress(AssignedError, UnknownRecordError):
        release_claim(desk.ledger, example_id, visit.who.name, now=visit.now)
    return go_to(query_of_visit(visit).address("/queue/next", after=example_id, said="skipped"))


def mark_identifier(desk: Desk, visit: Visit) -> Response:
    """Hold the report back at once: from now on nothing of it is shown, approved or trained on until it is scrubbed again."""
    opened, kind, term = find_opened(desk, visit), visit.form.text("kind"), visit.form.text("term")
    report_id = opened.draft.report_id
    if opened.draft.source == CORRECTION:
        return _again(desk, visit, opened, _NO_REPORT)
    if kind not in KINDS:
        return _again(desk, visit, opened, "Choose what kind of identifier it is.")
    report = desk.texts.tagged_report(report_id)
    # Before the raw report is asked: else its answers would tell, guess by guess, what was removed from it.
    if report is None or len(term) > _LONGEST_TERM or not is_seen(report, kind, term):
        return _again(desk, visit, opened, _NOT_SEEN)
    try:
        mark_missed(
            desk.ledger,
            desk.key,
            desk.settings.layout,
            report_id=report_id,
            kind=kind,
            term=term,
            marked_by=visit.who.name,
        )
    except MarkError:
        return _again(desk, visit, opened, _NOT_SEEN)
    return go_to(query_of_visit(visit).address("/queue/next", after=opened.item.example_id, said="marked"))


def _again(desk: Desk, visit: Visit, opened: Opened, refusal: str) -> Response:
    """The same item with what was typed, and why it was not taken."""
    try:
        return open_item(desk, visit, opened, typed=visit.form.text("output") or None, refusal=refusal, status=400)
    except AssignedError as error:
        return _conflict_page(desk, visit, opened, str(error))


def _conflict_page(desk: Desk, visit: Visit, opened: Opened, refusal: str) -> Response:
    typed = visit.form.text("output")
    return page(
        desk,
        visit,
        "conflict.html",
        status=409,
        item=find_item(desk.ledger, opened.item.example_id) or opened.item,
        refusal=refusal,
        typed=typed,
        diff=word_diff(opened.draft.output, typed.strip()) if typed else [],
        query=query_of_visit(visit),
    )


def show_decisions(desk: Desk, visit: Visit, refusal: str = "") -> Response:
    before = visit.number("before")
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


def revoke_decision(desk: Desk, visit: Visit) -> Response:
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
        return show_decisions(desk, visit, refusal=str(error))
    return go_to((safe_path(visit.form.text("back")) or "/decisions") + "?said=revoked")
