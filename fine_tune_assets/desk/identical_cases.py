"""Lists the identical cases that a reviewer may decide together."""

from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.ledger.reviews.review_items import list_identical_ids
from fine_tune_assets.ledger.reviews.review_rows import ReviewItem


def list_identical_cases(desk: Desk, context: RequestContext, item: ReviewItem) -> list[str]:
    """The waiting examples that are identical to this item and that the viewer may decide now, oldest first; itself included."""
    if not item.case_key:
        return []
    withheld = desk.withheld.example_ids()
    found = list_identical_ids(desk.ledger, item.case_key, viewer=context.user.name, now=context.now)
    return [example_id for example_id in found if example_id not in withheld]


def count_identical_cases(desk: Desk, context: RequestContext, item: ReviewItem) -> int:
    """The number to show on the item's page; 0 unless it waits, because a second review is given one by one."""
    return len(list_identical_cases(desk, context, item)) if item.state == "waiting" else 0
