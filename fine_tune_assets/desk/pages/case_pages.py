"""Pages on which a reviewer decides identical cases together: each input read and ticked, one signature, a decision for each."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from fine_tune_assets.approval.case_signatures import (
    MAX_CASES,
    RefusedCase,
    SignedCase,
    case_key_of,
    submit_case_decisions,
)
from fine_tune_assets.approval.drafts import content_fingerprint
from fine_tune_assets.approval.sign_off import MEANINGS, REASON_CODES, DecisionSubmission, ReviewError
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.error_pages import PageError
from fine_tune_assets.desk.identical_cases import list_identical_cases
from fine_tune_assets.desk.pages.item_pages import flag_text
from fine_tune_assets.desk.pages.marked_text import mark_spans
from fine_tune_assets.desk.pages.queue_pages import make_next_url, read_query
from fine_tune_assets.desk.rendering import redirect_to, render_page
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.ledger.reviews.review_items import find_item, find_items
from fine_tune_assets.ledger.reviews.review_rows import ReviewItem
from fine_tune_assets.tables.approval_rows import DraftedExample

_NOTICES = {"approve": "approved", "reject": "rejected"}
_NO_CASE = "Nothing was recorded: no case is ticked. Open the input of a case, and tick it after you have read it."
_NOT_CHECKED = "Nothing was recorded: tick each flag after you have checked it in every input."
_REASON_OF_APPROVAL = (
    "Nothing was recorded: you chose a reason to reject the cases, and then signed their approval. Sign one of the two."
)
_ABSENT = "It was removed, or is withheld because of a marked identifier."


@dataclass(frozen=True)
class ShownCase:
    item: ReviewItem
    draft: DraftedExample
    fingerprint: str
    """The fingerprint to sign."""


def show_cases(desk: Desk, context: RequestContext, refusal: str = "") -> Response:
    """The first `MAX_CASES` cases. Opening them claims none, so a case that another reviewer takes meanwhile is refused."""
    item = _find_item(desk, context)
    identical = list_identical_cases(desk, context, item)
    cases = _read_cases(desk, item.case_key, identical[:MAX_CASES])
    if not cases:
        return render_page(desk, context, "no_cases.html", item=item, query=read_query(context))
    first = cases[0].draft
    flags, spans = flag_text(first, first.output, desk.read_recipe().domain)
    return render_page(
        desk,
        context,
        "cases.html",
        status=400 if refusal else 200,
        item=item,
        query=read_query(context),
        cases=cases,
        total=len(identical),
        draft=first,
        flags=flags,
        pieces=mark_spans(first.output, spans),
        report_numbers=desk.stored_texts.find_report_numbers([case.item.report_id for case in cases]),
        meanings=MEANINGS,
        reasons=REASON_CODES,
        refusal=refusal,
        ticked=context.form.get_all("read"),
        checked_flags=context.form.get_all("acknowledged"),
    )


def decide_cases(desk: Desk, context: RequestContext) -> Response:
    """Record the signed decision for each ticked case, and report those that were refused."""
    item, form, ticked = _find_item(desk, context), context.form, dict.fromkeys(context.form.get_all("read"))
    decision = "reject" if form.get_text("meaning") == "reject" else "approve"
    drafts = _read_drafts(desk, ticked)
    if not ticked:
        return show_cases(desk, context, _NO_CASE)
    if decision == "approve" and not _is_every_flag_checked(drafts.values(), form.get_all("acknowledged")):
        return show_cases(desk, context, _NOT_CHECKED)
    # The Enter key in the list of reasons presses the first button of the form, which approves.
    if decision == "approve" and form.get_text("reason_code"):
        return show_cases(desk, context, _REASON_OF_APPROVAL)
    submission = DecisionSubmission(
        reviewer=context.user.name,
        role="review",
        decision=decision,
        output=None,
        reason_code=form.get_text("reason_code") if decision == "reject" else "",
        reason=form.get_text("reason") if decision == "reject" else "",
        meaning=form.get_text("meaning"),
    )
    try:
        refused = submit_case_decisions(
            desk.ledger,
            [_read_signed_case(context, draft) for draft in drafts.values()],
            submission,
            case_key=item.case_key,
            rules=desk.read_review_settings(),
            now=context.now,
        )
    except ReviewError as error:
        return show_cases(desk, context, str(error))
    refused += [RefusedCase(example_id, _ABSENT) for example_id in ticked if example_id not in drafts]
    if refused:
        return _show_refused(desk, context, item, refused, len(ticked) - len(refused))
    return _open_next(desk, context, item, _NOTICES[decision])


def _find_item(desk: Desk, context: RequestContext) -> ReviewItem:
    item = find_item(desk.ledger, context.path_param("example_id"))
    if item is None:
        raise PageError(404, "Item not found", "No item has this id. Take another one from the queue.")
    return item


def _read_drafts(desk: Desk, example_ids: Collection[str]) -> dict[str, DraftedExample]:
    """Without withheld ones."""
    shown = set(example_ids) - desk.withheld.example_ids()
    return desk.stored_texts.find_drafts(shown, DraftedExample)


def _read_cases(desk: Desk, case_key: str, example_ids: Sequence[str]) -> list[ShownCase]:
    drafts, items = _read_drafts(desk, example_ids), find_items(desk.ledger, example_ids)
    return [
        ShownCase(items[key], drafts[key], _fingerprint(drafts[key]))
        for key in example_ids
        if key in items and key in drafts and case_key_of(drafts[key]) == case_key
    ]


def _fingerprint(draft: DraftedExample) -> str:
    return content_fingerprint(draft.instruction, draft.input, draft.output)


def _is_every_flag_checked(drafts: Collection[DraftedExample], checked: Collection[str]) -> bool:
    return all(set(draft.flags) == set(checked) for draft in drafts)


def _read_signed_case(context: RequestContext, draft: DraftedExample) -> SignedCase:
    """What the page showed for this draft. A missing field makes the case a changed one."""
    version = context.form.get_number(f"version_{draft.example_id}")
    signed = context.form.get_text(f"signed_{draft.example_id}")
    return SignedCase(draft, -1 if version is None else version, signed)


def _open_next(desk: Desk, context: RequestContext, item: ReviewItem, notice: str) -> Response:
    """The other identical cases, or the next item."""
    query = read_query(context)
    if len(list_identical_cases(desk, context, item)) > 1:
        return redirect_to(query.make_url(f"/items/{item.example_id}/identical", notice=notice))
    return redirect_to(make_next_url(query, "/queue/next", item, notice=notice))


def _show_refused(
    desk: Desk, context: RequestContext, item: ReviewItem, refused: Sequence[RefusedCase], recorded: int
) -> Response:
    return render_page(
        desk,
        context,
        "refused_cases.html",
        status=409,
        item=item,
        refused=refused,
        recorded=recorded,
        query=read_query(context),
    )
