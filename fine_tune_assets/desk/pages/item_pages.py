"""Page of one item: the report next to the output, flags, the diff against the draft, and the preview of the signature.

Opening an item claims it for the reviewer for a limited time. `decision_pages` records decisions.
"""

from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from fine_tune_assets.approval.draft_checks import check_repair
from fine_tune_assets.approval.flags import flag_spans, sentence_spans
from fine_tune_assets.approval.review_history import DecisionEntry, find_output_to_review, is_blind_review, list_history
from fine_tune_assets.approval.sign_off import (
    MEANINGS,
    REASON_CODES,
    DecisionSubmission,
    ReviewError,
    complete_submission,
    fingerprint_approved_content,
)
from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.core.prompts.retrieval_contract import strip_passages
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.error_pages import PageError, not_found
from fine_tune_assets.desk.pages.mark_pages import AbsentItemError, item_removed, item_withheld, render_absent_item
from fine_tune_assets.desk.pages.marked_text import (
    FLAGGED_SENTENCE,
    DiffPiece,
    diff_words,
    mark_diff_spans,
    mark_placeholders,
    mark_spans,
)
from fine_tune_assets.desk.pages.queue_pages import STATE_LABELS, read_query
from fine_tune_assets.desk.pages.related_texts import find_corrected_answer, find_dropped_duplicates
from fine_tune_assets.desk.rendering import render_page
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.ledger.reviews.review_items import DECIDABLE_STATES, AssignedError, claim_item, find_item
from fine_tune_assets.ledger.reviews.review_rows import ReviewItem
from fine_tune_assets.phi.spans.kinds import KINDS
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets.tables.common_columns import Passage
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection

MAX_CHECKED_CHARACTERS = 20_000
"""Characters. The check runs while the reviewer types, and takes a second for 200,000."""
_NOT_CHECKED = f"not checked: texts of more than {MAX_CHECKED_CHARACTERS:,} characters are not compared with the input"


@dataclass(frozen=True)
class SignaturePreview:
    """An approval before it is signed."""

    text: str
    fingerprint: str
    """Fingerprint of instruction, input and this text."""
    is_repaired: bool

    @property
    def meaning_key(self) -> str:
        return "approve_repaired" if self.is_repaired else "approve"

    @property
    def meaning(self) -> str:
        return MEANINGS[self.meaning_key]


def preview_signature(draft: DraftedExample, output: str, reviewer: str) -> SignaturePreview:
    """What is recorded if `reviewer` approves this output. Raises ReviewError if it can't be approved."""
    submission = complete_submission(DecisionSubmission(reviewer, "review", "approve", output, "", "", ""), draft)
    fingerprint = fingerprint_approved_content(submission, draft)
    assert fingerprint is not None
    text = draft.output if submission.output is None else submission.output
    return SignaturePreview(text, fingerprint, submission.output is not None)


@dataclass(frozen=True)
class OpenItem:
    """An item with its draft and the correction behind it."""

    item: ReviewItem
    draft: DraftedExample
    correction: ScrubbedCorrection | None

    @property
    def author(self) -> str | None:
        """The author of the correction, who can't decide on it."""
        return None if self.correction is None else self.correction.author

    @property
    def passages(self) -> tuple[Passage, ...]:
        """Scrubbed passages before the question of a correction's draft; empty for other drafts."""
        if self.correction is None or not strip_passages(self.draft.instruction, self.draft.input).documents:
            return ()
        return self.correction.passages or ()


def show_item(desk: Desk, context: RequestContext, typed: str | None = None) -> Response:
    try:
        opened = find_open_item(desk, context)
    except AbsentItemError as absent:
        return render_absent_item(desk, context, absent, typed or "")
    try:
        return render_item(desk, context, opened, typed=typed)
    except AssignedError:
        item = find_item(desk.ledger, opened.item.example_id)
        if item is None:
            raise not_found() from None
        query = read_query(context)
        return render_page(
            desk, context, "claimed.html", status=409, item=item, query=query, typed=context.form.get_text("output")
        )


def reopen_item(desk: Desk, context: RequestContext) -> Response:
    """The current item with the text that the user typed before."""
    return show_item(desk, context, typed=context.form.get_text("output"))


def show_diff(desk: Desk, context: RequestContext) -> Response:
    """Diff and flags of the text in the editor. Renews the reviewer's claim while they type."""
    opened = find_open_item(desk, context)
    if opened.item.state in DECIDABLE_STATES:
        _renew_claim(desk, context, opened)
    flags, pieces = diff_against_draft(opened.draft, context.form.get_text("output"))
    return render_page(desk, context, "edit_preview.html", flags=flags, pieces=pieces)


def diff_against_draft(draft: DraftedExample, output: str) -> tuple[list[str], list[DiffPiece]]:
    """The flags of a text, and its diff against the draft with the flagged places marked."""
    text = output.replace("\r\n", "\n").strip()
    flags, spans = flag_text(draft, text)
    return flags, mark_diff_spans(diff_words(draft.output, text), spans)


def flag_text(draft: DraftedExample, text: str) -> tuple[list[str], list[tuple[int, int, str]]]:
    """The flags of a text, and the spans of flagged places and their sentences.

    A repaired text over `MAX_CHECKED_CHARACTERS` is not checked; its only flag says so.
    """
    if text != draft.output and len(text) > MAX_CHECKED_CHARACTERS:
        return [_NOT_CHECKED], []
    flags = check_repair(draft, text)
    spans = flag_spans(text, flags)
    return flags, [*spans, *((start, end, FLAGGED_SENTENCE) for start, end in sentence_spans(text, spans))]


def show_signature_preview(desk: Desk, context: RequestContext) -> Response:
    opened, output = find_open_item(desk, context), context.form.get_text("output")
    return render_page(
        desk,
        context,
        "signature_preview.html",
        signing_flags=flag_text(opened.draft, output.strip())[0],
        **_make_signature_context(opened.draft, output, context),
    )


def _make_signature_context(draft: DraftedExample, output: str, context: RequestContext) -> dict[str, Any]:
    try:
        return {"signing": preview_signature(draft, output, context.user.name), "unsigned": ""}
    except ReviewError as error:
        return {"signing": None, "unsigned": str(error)}


def find_open_item(desk: Desk, context: RequestContext) -> OpenItem:
    """Raises AbsentItemError if the item is withheld because of a mark or no longer current, and PageError if it is unknown."""
    example_id = context.path_param("example_id")
    item = find_item(desk.ledger, example_id)
    if item is None:
        raise PageError(404, "Item not found", "No item has this id. Take another one from the queue.")
    draft = desk.stored_texts.find_draft(example_id) if item.removed_at is None else None
    if draft is None:
        raise item_removed(item)
    if example_id in desk.withheld.example_ids():
        raise item_withheld(item, draft)
    return OpenItem(item, draft, desk.stored_texts.find_correction(draft))


def claim_for_viewer(desk: Desk, context: RequestContext, opened: OpenItem) -> ReviewItem:
    """Claim the item for the minutes that the recipe states. Raises AssignedError if another reviewer has claimed it."""
    minutes = desk.read_review_settings().assignment_minutes
    return claim_item(desk.ledger, opened.item.example_id, context.user.name, now=context.now, minutes=minutes)


def _renew_claim(desk: Desk, context: RequestContext, opened: OpenItem) -> None:
    try:
        claim_for_viewer(desk, context, opened)
    except AssignedError as error:
        raise PageError(409, "Another reviewer has this item", str(error)) from None


def render_item(
    desk: Desk, context: RequestContext, opened: OpenItem, *, typed: str | None, refusal: str = "", status: int = 200
) -> Response:
    """The item, claimed for this reviewer; read-only if they may not decide on it. Raises AssignedError."""
    lines = list_history(desk.ledger, opened.item.example_id, viewer=context.user.name, can_see_all=False)
    own = [line for line in lines if is_same_person(line.reviewer, context.user.name) and line.revoked_at is None]
    closed, draft, rules = _find_closed_reason(context, opened, own), opened.draft, desk.read_review_settings()
    item = opened.item if closed else claim_for_viewer(desk, context, opened)
    shown = find_output_to_review(desk.ledger, draft, rules)
    output = shown if typed is None else typed
    report = desk.stored_texts.find_tagged_report(draft.report_id)
    flags, spans = flag_text(draft, shown)
    edited_flags, diff = diff_against_draft(draft, output)
    return render_page(
        desk,
        context,
        "item.html",
        status=status,
        item=item,
        draft=draft,
        output=output,
        flags=flags,
        pieces=mark_spans(shown, spans),
        report=None if report is None else mark_placeholders(report),
        passages=opened.passages,
        corrected=find_corrected_answer(desk, draft, opened.correction),
        dropped=find_dropped_duplicates(desk, draft),
        edited_flags=edited_flags,
        signing_flags=edited_flags,
        diff=diff,
        is_second_output=shown != draft.output,
        query=read_query(context),
        closed=closed,
        own=own,
        refusal=refusal,
        reasons=REASON_CODES,
        meanings=MEANINGS,
        kinds=KINDS,
        states=STATE_LABELS,
        is_blind=is_blind_review(rules),
        report_number=desk.stored_texts.find_report_number(draft.report_id),
        shown=shown,
        typed=typed or "",
        **_make_signature_context(draft, output, context),
    )


def _find_closed_reason(context: RequestContext, opened: OpenItem, own: list[DecisionEntry]) -> str:
    """Why the item is read-only for this user; empty if they may decide."""
    if opened.author is not None and is_same_person(opened.author, context.user.name):
        return "You wrote the correction behind this draft. Another reviewer must decide."
    if opened.item.state == "disagreement":
        return "The reviewers disagree. An approver who is not one of them adjudicates it."
    if opened.item.state not in DECIDABLE_STATES:
        return f"State: {STATE_LABELS[opened.item.state]}. The item opens again if its decision is revoked."
    if own and opened.item.state == "second_review":
        return "You gave the first review. Another reviewer must give the second one."
    return ""
