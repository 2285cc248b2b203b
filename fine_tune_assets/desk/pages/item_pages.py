"""One item: the report beside the output, what to look at, what was changed, and what would be signed.

Owns what is shown to whom, and that an item which is opened is its reviewer's for a while. Deciding is in `decision_pages`.
"""

from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from fine_tune_assets.approval.draft_checks import flags_of_repair
from fine_tune_assets.approval.dropped_reports import contradiction_with
from fine_tune_assets.approval.flags import flag_spans, kind_of, sentence_spans
from fine_tune_assets.approval.review_history import DecisionLine, history, output_to_review, reviews_blind
from fine_tune_assets.approval.signatures import MEANINGS, REASON_CODES, ReviewError, Word, approved_content, completed
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.errors import PageError, not_found
from fine_tune_assets.desk.pages.marked_text import (
    IN_SENTENCE,
    DiffPiece,
    Piece,
    with_marks,
    with_slots,
    with_spans,
    word_diff,
)
from fine_tune_assets.desk.pages.queue_pages import STATES, query_of_visit
from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.ledger.reviews.review_items import REVIEW_STATES, AssignedError, claim, find_item
from fine_tune_assets.ledger.reviews.review_rows import ReviewItem
from fine_tune_assets.phi.spans.kinds import KINDS
from fine_tune_assets.tables.approval import DraftedExample

LONGEST_CHECKED = 20_000
"""Characters. Checking 200,000 took a second, and that while somebody types."""
_NOT_CHECKED = (
    f"not checked: a text of more than {LONGEST_CHECKED:,} characters is too long to compare it with the input"
)


@dataclass(frozen=True)
class Signing:
    """An approval before it is signed."""

    text: str
    fingerprint: str
    """Of instruction, input and this text."""
    is_repaired: bool

    @property
    def meaning_key(self) -> str:
        return "approve_repaired" if self.is_repaired else "approve"

    @property
    def meaning(self) -> str:
        return MEANINGS[self.meaning_key]


def signing_of(draft: DraftedExample, output: str, reviewer: str) -> Signing:
    """What is recorded if `reviewer` approves this output of the draft. Raises ReviewError where nothing can be."""
    word = completed(Word(reviewer, "review", "approve", output, "", "", ""), draft)
    fingerprint = approved_content(word, draft)
    assert fingerprint is not None
    return Signing(draft.output if word.output is None else word.output, fingerprint, word.output is not None)


@dataclass(frozen=True)
class DroppedCopy:
    number: str
    """As the flag says it."""
    pieces: list[Piece] | None
    """None while it is held back, or was removed since."""


def dropped_copies(desk: Desk, draft: DraftedExample) -> list[DroppedCopy]:
    """In the order of the flags."""
    flags = [flag for flag in draft.flags if kind_of(flag) == "contradiction"]
    if not flags:
        return []
    ids = {contradiction_with(found): (short(found), i) for found, i in desk.texts.dropped_for(draft.report_id).items()}
    return [DroppedCopy(number, _pieces(desk, report_id)) for number, report_id in (ids[f] for f in flags if f in ids)]


def _pieces(desk: Desk, report_id: str) -> list[Piece] | None:
    found = desk.texts.tagged_of_patient(report_id)
    return None if found is None or desk.held_back.holds(*found) else with_slots(found[1])


@dataclass(frozen=True)
class Opened:
    """An item with its texts, as this visit may see it."""

    item: ReviewItem
    draft: DraftedExample
    author: str | None


def show_item(desk: Desk, visit: Visit, typed: str | None = None) -> Response:
    opened = find_opened(desk, visit)
    try:
        return open_item(desk, visit, opened, typed=typed)
    except AssignedError:
        item = find_item(desk.ledger, opened.item.example_id)
        if item is None:
            raise not_found() from None
        query = query_of_visit(visit)
        return page(desk, visit, "taken.html", status=409, item=item, query=query, typed=visit.form.text("output"))


def open_with_text(desk: Desk, visit: Visit) -> Response:
    """The item as it is now, with what was typed before: nobody types it twice."""
    return show_item(desk, visit, typed=visit.form.text("output"))


def show_diff(desk: Desk, visit: Visit) -> Response:
    """What the editor's text changes in the draft, and what to look at in it; the item stays the reviewer's while they type."""
    opened = find_opened(desk, visit)
    if opened.item.state in REVIEW_STATES:
        _keep(desk, visit, opened)
    flags, pieces = against_draft(opened.draft, visit.form.text("output"))
    return page(desk, visit, "edited.html", flags=flags, pieces=pieces)


def against_draft(draft: DraftedExample, output: str) -> tuple[list[str], list[DiffPiece]]:
    """What to look at in a text, and what it changes in the draft with those places marked."""
    text = output.replace("\r\n", "\n").strip()
    flags, spans = to_look_at(draft, text)
    return flags, with_marks(word_diff(draft.output, text), spans)


def to_look_at(draft: DraftedExample, text: str) -> tuple[list[str], list[tuple[int, int, str]]]:
    """The flags of a text, and where they are about it, with the sentences around them.

    A long one that is not the draft's is not checked, and said so.
    """
    if text != draft.output and len(text) > LONGEST_CHECKED:
        return [_NOT_CHECKED], []
    flags = flags_of_repair(draft, text)
    spans = flag_spans(text, flags)
    return flags, [*spans, *((start, end, IN_SENTENCE) for start, end in sentence_spans(text, spans))]


def show_signing(desk: Desk, visit: Visit) -> Response:
    """What would be signed now."""
    opened = find_opened(desk, visit)
    return page(desk, visit, "signing.html", **_signing(opened.draft, visit.form.text("output"), visit))


def _signing(draft: DraftedExample, output: str, visit: Visit) -> dict[str, Any]:
    try:
        return {"signing": signing_of(draft, output, visit.who.name), "unsigned": ""}
    except ReviewError as error:
        return {"signing": None, "unsigned": str(error)}


def find_opened(desk: Desk, visit: Visit) -> Opened:
    """Raises PageError if the item is not there, or is held back because of a mark."""
    example_id = visit.path("example_id")
    item = find_item(desk.ledger, example_id)
    draft = desk.texts.draft(example_id) if item is not None and item.gone_at is None else None
    if item is None or draft is None:
        raise PageError(
            404, "This item is gone", "It was drafted anew or removed since. Take another one from the queue."
        )
    if example_id in desk.held_back.example_ids():
        raise PageError(
            409,
            "This item is held back",
            "Somebody saw an identifier in it. It comes back by itself when its report was scrubbed again; if a reviewer "
            "typed it into a repaired text, when that decision is revoked.",
        )
    return Opened(item, draft, desk.texts.author(draft))


def take(desk: Desk, visit: Visit, opened: Opened) -> ReviewItem:
    """Make the item this reviewer's for the time that the recipe says. Raises AssignedError if it is another's."""
    minutes = desk.rules().assignment_minutes
    return claim(desk.ledger, opened.item.example_id, visit.who.name, now=visit.now, minutes=minutes)


def _keep(desk: Desk, visit: Visit, opened: Opened) -> None:
    try:
        take(desk, visit, opened)
    except AssignedError as error:
        raise PageError(409, "Somebody else has it", str(error)) from None


def open_item(
    desk: Desk, visit: Visit, opened: Opened, *, typed: str | None, refusal: str = "", status: int = 200
) -> Response:
    """The item to decide on, which is then this reviewer's; only to read where they may not. Raises AssignedError."""
    lines = history(desk.ledger, opened.item.example_id, viewer=visit.who.name, may_see_all=False)
    own = [x for x in lines if is_same_person(x.reviewer, visit.who.name) and x.revoked_at is None]
    closed, draft, rules = _why_closed(visit, opened, own), opened.draft, desk.rules()
    item = opened.item if closed else take(desk, visit, opened)
    shown = output_to_review(desk.ledger, draft, rules)
    output = shown if typed is None else typed
    report = desk.texts.tagged_report(draft.report_id)
    flags, spans = to_look_at(draft, shown)
    edited_flags, diff = against_draft(draft, output)
    return page(
        desk,
        visit,
        "item.html",
        status=status,
        item=item,
        draft=draft,
        output=output,
        flags=flags,
        pieces=with_spans(shown, spans),
        report=None if report is None else with_slots(report),
        passages=desk.texts.passages(draft),
        dropped=dropped_copies(desk, draft),
        edited_flags=edited_flags,
        diff=diff,
        is_second_output=shown != draft.output,
        query=query_of_visit(visit),
        closed=closed,
        own=own,
        refusal=refusal,
        reasons=REASON_CODES,
        meanings=MEANINGS,
        kinds=KINDS,
        states=STATES,
        is_blind=reviews_blind(rules),
        report_number=desk.texts.report_number(draft.report_id),
        shown=shown,
        typed=typed or "",
        **_signing(draft, output, visit),
    )


def _why_closed(visit: Visit, opened: Opened, own: list[DecisionLine]) -> str:
    """Why this visit can only read; empty if it may decide."""
    if opened.author is not None and is_same_person(opened.author, visit.who.name):
        return "You wrote the correction behind this draft. Another reviewer has to decide."
    if opened.item.state == "disagreement":
        return "The reviewers disagree. Somebody with the role approver, who is none of them, settles it."
    if opened.item.state not in REVIEW_STATES:
        return f"This item is {STATES[opened.item.state]}. It opens again if its decision is revoked."
    if own and opened.item.state == "second_review":
        return "You gave the first look. Another person gives the second one."
    return ""
