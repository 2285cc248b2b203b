"""Pages of marked identifiers: why an item is absent, and withdrawing a wrong mark.

They show kinds, names and times, never the identifier. `decision_pages` records marks.
"""

from dataclasses import dataclass

from starlette.responses import Response

from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.error_pages import PageError, forbidden, not_found
from fine_tune_assets.desk.pages.queue_pages import read_query
from fine_tune_assets.desk.pages.sign_in_pages import validate_path
from fine_tune_assets.desk.rendering import redirect_to, render_page
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.ledger.reviews.identifier_marks import IdentifierMark, list_marks, withdraw_mark
from fine_tune_assets.ledger.reviews.review_items import list_report_items
from fine_tune_assets.ledger.reviews.review_rows import ReviewItem
from fine_tune_assets.tables.approval_rows import DraftedExample

_MAX_OWN_MARKS = 50


@dataclass
class AbsentItemError(PageError):
    """The item exists but can't be opened: it is withheld because of a mark, or its draft is no longer current."""

    item: ReviewItem
    draft: DraftedExample | None
    """None if the draft is no longer current."""


def item_withheld(item: ReviewItem, draft: DraftedExample) -> AbsentItemError:
    message = (
        "It contains an identifier that a reviewer marked, so it is neither shown nor trained on. It returns when its report is "
        "scrubbed again or the mark is withdrawn. If the identifier is in a repaired output, it returns when that decision is "
        "revoked."
    )
    return AbsentItemError(409, "This item is withheld", message, item, draft)


def item_removed(item: ReviewItem) -> AbsentItemError:
    message = (
        "Its report was scrubbed or drafted again, or was removed. The draft returns with its decisions when the same text is "
        "drafted again, for example in the next run after a wrong mark is withdrawn."
    )
    return AbsentItemError(410, "This draft is no longer current", message, item, None)


def render_absent_item(desk: Desk, context: RequestContext, absent: AbsentItemError, typed: str) -> Response:
    """The page of an item that is absent: the marks behind it, and the current drafts of its report."""
    item = absent.item
    current = [other for other in list_report_items(desk.ledger, [item.report_id]) if other.removed_at is None]
    return render_page(
        desk,
        context,
        "absent_item.html",
        status=absent.status,
        absent=absent,
        item=item,
        marks=_find_marks(desk, absent),
        current=[other for other in current if other.example_id != item.example_id],
        query=read_query(context),
        typed=typed,
    )


def _find_marks(desk: Desk, absent: AbsentItemError) -> list[IdentifierMark]:
    """The active marks that withhold the item, or that were made in its report before its draft was removed."""
    marks, item = list_marks(desk.ledger), absent.item
    if absent.draft is not None:
        ids = desk.withheld.find_mark_ids(absent.draft)
        return [mark for mark in marks if mark.mark_id in ids]
    return [
        mark
        for mark in marks
        if mark.is_active
        and mark.report_id == item.report_id
        and (item.removed_at is None or mark.marked_at <= item.removed_at)
    ]


@dataclass(frozen=True)
class OwnMark:
    """A mark with the items of its report: the current ones, or else the removed ones."""

    mark: IdentifierMark
    items: list[ReviewItem]


def list_own_marks(desk: Desk, context: RequestContext) -> list[OwnMark]:
    """The user's newest active marks."""
    own = [m for m in list_marks(desk.ledger) if m.is_active and is_same_person(m.marked_by, context.user.name)]
    own = own[: -_MAX_OWN_MARKS - 1 : -1]
    items: dict[str, list[ReviewItem]] = {mark.report_id: [] for mark in own}
    for item in list_report_items(desk.ledger, list(items)):
        items[item.report_id].append(item)
    current = {report: [item for item in found if item.removed_at is None] for report, found in items.items()}
    return [OwnMark(mark, current[mark.report_id] or items[mark.report_id]) for mark in own]


def withdraw_own_mark(desk: Desk, context: RequestContext) -> Response:
    """Only for the reviewer who marked it: others can't know which words were meant."""
    mark_id = context.path_param("mark_id")
    mark = next((mark for mark in list_marks(desk.ledger) if mark.mark_id == mark_id), None)
    if mark is None:
        raise not_found()
    if not is_same_person(mark.marked_by, context.user.name):
        raise forbidden()
    if mark.is_active:
        withdraw_mark(desk.ledger, mark_id, context.user.name)
    return redirect_to((validate_path(context.form.get_text("back")) or "/decisions") + "?notice=withdrawn")
