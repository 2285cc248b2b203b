"""Actions on an item: approve, reject, skip, mark a missed identifier.

A refused action returns the user's text. `approval` decides whether an action is allowed and whether the item has changed.
"""

from contextlib import suppress
from dataclasses import replace

from starlette.responses import Response

from fine_tune_assets.approval.drafts import CORRECTION
from fine_tune_assets.approval.flags import flag_kind
from fine_tune_assets.approval.review_actions import submit_decision
from fine_tune_assets.approval.sign_off import (
    DecisionSubmission,
    NotAllowedError,
    ReviewError,
    StaleItemError,
    require_acknowledged,
)
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.pages.item_pages import OpenItem, find_open_item, preview_signature, render_item
from fine_tune_assets.desk.pages.marked_text import diff_words
from fine_tune_assets.desk.pages.queue_pages import make_next_url, read_query
from fine_tune_assets.desk.rendering import redirect_to, render_page
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.ledger.ledger_errors import UnknownRecordError
from fine_tune_assets.ledger.reviews.review_items import AssignedError, find_item, release_claim
from fine_tune_assets.phi.missed_identifiers.marks import MarkError, is_term_visible, mark_missed_identifier
from fine_tune_assets.phi.spans.vocabulary import load_vocabulary

_MAX_TERM_CHARACTERS = 500
_NO_REPORT = "This draft comes from a user's correction and has no report to mark. If it contains an identifier, reject the item."
_TERM_NOT_SHOWN = (
    "Nothing was marked: the report does not contain this text as whole words. Mark it as the report shows it. A name that "
    "appears only in the input or the output is a surrogate. If it is a real name, reject the item."
)
"""The same message in all cases, so that it reveals nothing about the raw report."""
_NOTICE_BY_DECISION = {"approve": "approved", "reject": "rejected"}


def decide_item(desk: Desk, context: RequestContext) -> Response:
    """Record the signed decision and open the next item."""
    opened = find_open_item(desk, context)
    version = context.form.get_number("version")
    try:
        submission = _read_submission(desk, opened, context)
        submit_decision(
            desk.ledger,
            opened.draft,
            submission,
            version=-1 if version is None else version,
            rules=desk.read_review_settings(),
            author=opened.author,
            now=context.now,
        )
    except (StaleItemError, AssignedError, NotAllowedError) as error:
        return _render_conflict(desk, context, opened, str(error))
    except ReviewError as error:
        return _show_refusal(desk, context, opened, str(error))
    notice = _NOTICE_BY_DECISION[submission.decision]
    return redirect_to(make_next_url(read_query(context), "/queue/next", opened.item, notice=notice))


def _read_submission(desk: Desk, opened: OpenItem, context: RequestContext) -> DecisionSubmission:
    """Raises ReviewError unless an approval signs the text that was shown and acknowledges exactly its flags."""
    form, decision = context.form, "reject" if context.form.get_text("decision") == "reject" else "approve"
    submission = DecisionSubmission(
        reviewer=context.user.name,
        role="review",
        decision=decision,
        output=form.get_text("output") if decision == "approve" else None,
        reason_code=form.get_text("reason_code") if decision == "reject" else "",
        reason=form.get_text("reason"),
        meaning=form.get_text("meaning"),
    )
    if decision == "reject":
        return submission
    preview = preview_signature(opened.draft, form.get_text("output"), context.user.name, desk.read_recipe().domain)
    if preview.fingerprint != form.get_text("signed"):
        raise ReviewError(
            "The text differs from the one that was shown to you for signing. Nothing was recorded. Read it again."
        )
    require_acknowledged(preview.fingerprint, preview.flags, form.get_all("acknowledged"))
    return replace(submission, acknowledged_kinds=tuple(map(flag_kind, preview.flags)))


def skip_item(desk: Desk, context: RequestContext) -> Response:
    """Release the claim and open the next item."""
    example_id = context.path_param("example_id")
    # The item may have been claimed by another reviewer or removed; then this reviewer's claim has already ended.
    with suppress(AssignedError, UnknownRecordError):
        release_claim(desk.ledger, example_id, context.user.name, now=context.now)
    return redirect_to(read_query(context).make_url("/queue/next", after=example_id, notice="skipped"))


def mark_identifier(desk: Desk, context: RequestContext) -> Response:
    """Withhold the report at once: nothing of it is shown, approved or trained on until it is scrubbed again."""
    opened, kind, term = find_open_item(desk, context), context.form.get_text("kind"), context.form.get_text("term")
    report_id = opened.draft.report_id
    if opened.draft.source == CORRECTION:
        return _show_refusal(desk, context, opened, _NO_REPORT)
    vocabulary = load_vocabulary(desk.read_recipe().domain)
    if kind not in vocabulary.kinds:
        return _show_refusal(desk, context, opened, "Choose the kind of identifier.")
    report = desk.stored_texts.find_report(report_id)
    # Check the scrubbed report before the raw one; otherwise guesses would reveal what was removed from it.
    is_too_long = len(term) > _MAX_TERM_CHARACTERS
    if report is None or is_too_long or not is_term_visible(report.tagged_text, kind, term, vocabulary):
        return _show_refusal(desk, context, opened, _TERM_NOT_SHOWN)
    try:
        mark_missed_identifier(
            desk.ledger,
            desk.key,
            desk.settings.layout,
            vocabulary,
            report_id=report_id,
            kind=kind,
            term=term,
            marked_by=context.user.name,
        )
    except MarkError:
        return _show_refusal(desk, context, opened, _TERM_NOT_SHOWN)
    return redirect_to(read_query(context).make_url("/queue/next", after=opened.item.example_id, notice="marked"))


def _show_refusal(desk: Desk, context: RequestContext, opened: OpenItem, refusal: str) -> Response:
    """The item with the user's text and the reason for the refusal."""
    try:
        return render_item(
            desk, context, opened, typed=context.form.get_text("output") or None, refusal=refusal, status=400
        )
    except AssignedError as error:
        return _render_conflict(desk, context, opened, str(error))


def _render_conflict(desk: Desk, context: RequestContext, opened: OpenItem, refusal: str) -> Response:
    typed = context.form.get_text("output")
    return render_page(
        desk,
        context,
        "conflict.html",
        status=409,
        item=find_item(desk.ledger, opened.item.example_id) or opened.item,
        refusal=refusal,
        typed=typed,
        diff=diff_words(opened.draft.output, typed.strip()) if typed else [],
        query=read_query(context),
    )
