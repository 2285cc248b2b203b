"""Where two reviewers disagree: both side by side, for a third person to settle.

Owns showing both and which text the adjudicator means. Who may settle what is `approval`'s.
"""

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from starlette.responses import Response

from fine_tune_assets.approval.review_actions import decide
from fine_tune_assets.approval.review_history import DecisionLine, history
from fine_tune_assets.approval.signatures import (
    MEANINGS,
    REASON_CODES,
    NotAllowedError,
    ReviewError,
    StaleItemError,
    Word,
)
from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.errors import not_found
from fine_tune_assets.desk.pages.item_pages import Opened, against_draft, find_opened, take, to_look_at
from fine_tune_assets.desk.pages.marked_text import DiffPiece, Piece, with_slots, with_spans, word_diff
from fine_tune_assets.desk.pages.queue_pages import PAGE_ITEMS, QueueQuery, find_next, list_shown
from fine_tune_assets.desk.rendering import go_to, page
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.ledger.reviews.review_items import AssignedError, find_item
from fine_tune_assets.ledger.reviews.review_rows import QueueFilter
from fine_tune_assets.tables.approval import DraftedExample

_OPEN = QueueFilter(state="disagreement")
_OWN, _REJECT = "own", "reject"
"""What an adjudicator chooses, besides one of the two outputs by its number."""


@dataclass(frozen=True)
class Side:
    """One reviewer's word, with what it changes in the draft and what to look at in it."""

    line: DecisionLine
    output: str
    flags: list[str]
    pieces: list[Piece] | list[DiffPiece]


def show_disagreements(desk: Desk, visit: Visit) -> Response:
    after = visit.query("after")
    rows = list_shown(desk, visit, _OPEN, after)
    more = f"/disagreements?after={rows[PAGE_ITEMS - 1].example_id}" if len(rows) > PAGE_ITEMS else ""
    return page(desk, visit, "disagreements.html", rows=rows[:PAGE_ITEMS], more=more, is_paged=bool(after))


def show_disagreement(desk: Desk, visit: Visit) -> Response:
    return _disagreement_page(desk, visit, find_opened(desk, visit))


def open_next_disagreement(desk: Desk, visit: Visit) -> Response:
    """Lead to the next one that this person may settle and nobody else has; to the list if there is none."""
    item, said = find_next(desk, visit, _OPEN), visit.query("said")
    if item is None:
        return go_to(f"/disagreements?{urlencode({'said': said or 'done'})}")
    path = f"/disagreements/{quote(item.example_id, safe='')}"
    return go_to(f"{path}?{urlencode({'said': said})}" if said else path)


def settle(desk: Desk, visit: Visit) -> Response:
    opened, form = find_opened(desk, visit), visit.form
    choice, version = form.text("choice"), form.number("version")
    decision = "reject" if choice == _REJECT else "approve"
    try:
        word = Word(
            reviewer=visit.who.name,
            role="adjudicate",
            decision=decision,
            output=None if decision == "reject" else _chosen_output(desk, visit, opened, choice),
            reason_code=form.text("reason_code") if decision == "reject" else "",
            reason=form.text("reason"),
            meaning=f"adjudicate_{decision}",
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
    except (StaleItemError, AssignedError, NotAllowedError, ReviewError) as error:
        status = 400 if type(error) is ReviewError else 409
        return _disagreement_page(desk, visit, opened, refusal=str(error), status=status)
    return go_to(f"/disagreements/next?{urlencode({'after': opened.item.example_id, 'said': 'settled'})}")


def _chosen_output(desk: Desk, visit: Visit, opened: Opened, choice: str) -> str:
    """The text that is meant. Raises ReviewError if none is."""
    if choice == _OWN:
        return visit.form.text("output")
    sides = _sides(desk, visit, opened)
    if choice.isdecimal() and len(choice) == 1 and int(choice) < len(sides):
        side = sides[int(choice)]
        if side.line.decision == "approve":
            return side.output
    raise ReviewError(f"Choose which text of example {opened.item.example_id} is right, or reject it.")


def _sides(desk: Desk, visit: Visit, opened: Opened) -> list[Side]:
    """The words that stand against each other: the last one of each person that was not revoked."""
    lines = history(desk.ledger, opened.item.example_id, viewer=visit.who.name, may_see_all=True)
    latest: dict[str, DecisionLine] = {}
    for line in lines:
        if line.revoked_at is None and line.role == "review":
            key = next((name for name in latest if is_same_person(name, line.reviewer)), line.reviewer)
            latest[key] = line
    return [_side(line, opened.draft) for line in latest.values()]


def _side(line: DecisionLine, draft: DraftedExample) -> Side:
    if line.output is None:
        flags, spans = to_look_at(draft, draft.output)
        return Side(line, draft.output, flags, with_spans(draft.output, spans))
    return Side(line, line.output, *against_draft(draft, line.output))


def _disagreement_page(desk: Desk, visit: Visit, opened: Opened, refusal: str = "", status: int = 200) -> Response:
    if opened.item.state != "disagreement" and not refusal:
        raise not_found()
    item = opened.item
    try:
        item = take(desk, visit, opened) if item.state == "disagreement" else item
    except AssignedError as error:
        refusal, status = str(error), 409
    sides = _sides(desk, visit, opened)
    texts = [side.output for side in sides if side.line.decision == "approve"]
    report = desk.texts.tagged_report(opened.draft.report_id)
    return page(
        desk,
        visit,
        "disagreement.html",
        status=status,
        item=find_item(desk.ledger, item.example_id) or item,
        draft=opened.draft,
        report=None if report is None else with_slots(report),
        sides=sides,
        between=word_diff(texts[0], texts[1]) if len(texts) == 2 else [],
        refusal=refusal,
        reasons=REASON_CODES,
        meanings=MEANINGS,
        typed=visit.form.text("output") or (texts[-1] if texts else opened.draft.output),
        choice=visit.form.text("choice"),
        query=QueueQuery(),
        report_number=desk.texts.report_number(opened.draft.report_id),
    )
