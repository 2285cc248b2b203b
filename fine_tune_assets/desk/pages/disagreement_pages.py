"""Pages for adjudication: both reviewers' decisions side by side, and the form for the third person.

`approval` decides who may adjudicate.
"""

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from starlette.responses import Response

from fine_tune_assets.approval.review_actions import submit_decision
from fine_tune_assets.approval.review_history import DecisionEntry, list_history
from fine_tune_assets.approval.sign_off import (
    MEANINGS,
    REASON_CODES,
    DecisionSubmission,
    NotAllowedError,
    ReviewError,
    StaleItemError,
)
from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.error_pages import not_found
from fine_tune_assets.desk.pages.item_pages import (
    OpenItem,
    claim_for_viewer,
    diff_against_draft,
    find_open_item,
    flag_text,
)
from fine_tune_assets.desk.pages.marked_text import DiffPiece, Piece, diff_words, mark_placeholders, mark_spans
from fine_tune_assets.desk.pages.queue_pages import (
    PAGE_ITEMS,
    QueueQuery,
    find_next_for_viewer,
    list_visible_items,
    read_position,
)
from fine_tune_assets.desk.pages.related_texts import find_corrected_answer
from fine_tune_assets.desk.rendering import redirect_to, render_page
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.ledger.reviews.review_items import AssignedError, find_item
from fine_tune_assets.ledger.reviews.review_rows import QueueFilter
from fine_tune_assets.tables.approval_rows import DraftedExample

PAGE_LINES = min(30, PAGE_ITEMS)
_DISAGREEMENT_FILTER = QueueFilter(state="disagreement")
_OWN, _REJECT = "own", "reject"
"""The adjudicator's choices besides the numbers of the two outputs."""


@dataclass(frozen=True)
class ReviewerPosition:
    """One reviewer's decision, with its output, flags and diff against the draft."""

    line: DecisionEntry
    output: str
    flags: list[str]
    pieces: list[Piece] | list[DiffPiece]


def show_disagreements(desk: Desk, context: RequestContext) -> Response:
    after = read_position(context)
    rows = list_visible_items(desk, context, _DISAGREEMENT_FILTER, after)
    more = f"/disagreements?after={rows[PAGE_LINES - 1].example_id}" if len(rows) > PAGE_LINES else ""
    return render_page(desk, context, "disagreements.html", rows=rows[:PAGE_LINES], more=more, is_paged=bool(after))


def show_disagreement(desk: Desk, context: RequestContext) -> Response:
    return _render_disagreement(desk, context, find_open_item(desk, context))


def open_next_disagreement(desk: Desk, context: RequestContext) -> Response:
    """Redirect to the next free disagreement that this user may adjudicate, or to the list."""
    item, notice = find_next_for_viewer(desk, context, _DISAGREEMENT_FILTER), context.query_param("notice")
    if item is None:
        return redirect_to(f"/disagreements?{urlencode({'notice': notice or 'queue_empty'})}")
    path = f"/disagreements/{quote(item.example_id, safe='')}"
    return redirect_to(f"{path}?{urlencode({'notice': notice})}" if notice else path)


def adjudicate(desk: Desk, context: RequestContext) -> Response:
    opened, form = find_open_item(desk, context), context.form
    choice, version = form.get_text("choice"), form.get_number("version")
    decision = "reject" if choice == _REJECT else "approve"
    try:
        submission = DecisionSubmission(
            reviewer=context.user.name,
            role="adjudicate",
            decision=decision,
            output=None if decision == "reject" else _find_chosen_output(desk, context, opened, choice),
            reason_code=form.get_text("reason_code") if decision == "reject" else "",
            reason=form.get_text("reason"),
            meaning=f"adjudicate_{decision}",
        )
        submit_decision(
            desk.ledger,
            opened.draft,
            submission,
            version=-1 if version is None else version,
            rules=desk.read_review_settings(),
            author=opened.author,
            now=context.now,
        )
    except (StaleItemError, AssignedError, NotAllowedError, ReviewError) as error:
        status = 400 if type(error) is ReviewError else 409
        return _render_disagreement(desk, context, opened, refusal=str(error), status=status)
    return redirect_to(f"/disagreements/next?{urlencode({'after': opened.item.example_id, 'notice': 'adjudicated'})}")


def _find_chosen_output(desk: Desk, context: RequestContext, opened: OpenItem, choice: str) -> str:
    """The chosen text. Raises ReviewError if no text was chosen."""
    if choice == _OWN:
        return context.form.get_text("output")
    sides = _list_positions(desk, context, opened)
    if choice.isdecimal() and len(choice) == 1 and int(choice) < len(sides):
        side = sides[int(choice)]
        if side.line.decision == "approve":
            return side.output
    raise ReviewError(f"Choose which text of example {opened.item.example_id} is right, or reject it.")


def _list_positions(desk: Desk, context: RequestContext, opened: OpenItem) -> list[ReviewerPosition]:
    """Each reviewer's latest decision that was not revoked."""
    lines = list_history(desk.ledger, opened.item.example_id, viewer=context.user.name, can_see_all=True)
    latest: dict[str, DecisionEntry] = {}
    for line in lines:
        if line.revoked_at is None and line.role == "review":
            key = next((name for name in latest if is_same_person(name, line.reviewer)), line.reviewer)
            latest[key] = line
    return [_make_position(line, opened.draft, desk.read_recipe().domain) for line in latest.values()]


def _make_position(line: DecisionEntry, draft: DraftedExample, domain: str) -> ReviewerPosition:
    if line.output is None:
        flags, spans = flag_text(draft, draft.output, domain)
        return ReviewerPosition(line, draft.output, flags, mark_spans(draft.output, spans))
    return ReviewerPosition(line, line.output, *diff_against_draft(draft, line.output, domain))


def _render_disagreement(
    desk: Desk, context: RequestContext, opened: OpenItem, refusal: str = "", status: int = 200
) -> Response:
    if opened.item.state != "disagreement" and not refusal:
        raise not_found()
    item = opened.item
    try:
        item = claim_for_viewer(desk, context, opened) if item.state == "disagreement" else item
    except AssignedError as error:
        refusal, status = str(error), 409
    sides = _list_positions(desk, context, opened)
    texts = [side.output for side in sides if side.line.decision == "approve"]
    report = desk.stored_texts.find_report(opened.draft.report_id)
    return render_page(
        desk,
        context,
        "disagreement.html",
        status=status,
        item=find_item(desk.ledger, item.example_id) or item,
        draft=opened.draft,
        report=None if report is None else mark_placeholders(report.tagged_text, desk.read_recipe().domain),
        corrected=find_corrected_answer(desk, opened.draft, opened.correction),
        sides=sides,
        between=diff_words(texts[0], texts[1]) if len(texts) == 2 else [],
        refusal=refusal,
        reasons=REASON_CODES,
        meanings=MEANINGS,
        typed=context.form.get_text("output") or (texts[-1] if texts else opened.draft.output),
        choice=context.form.get_text("choice"),
        query=QueueQuery(),
        report_number=None if report is None else report.number,
    )
