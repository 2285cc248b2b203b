"""The way of one example: from its report over draft and decisions to what was built on it.

Owns that a reviewer who may still give the second look does not see the first one here.
"""

from typing import TYPE_CHECKING

from starlette.responses import Response

from fine_tune_assets.approval.reviewing import history, reviews_blind
from fine_tune_assets.desk.errors import not_found
from fine_tune_assets.desk.queue_filter import STATES
from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.ledger.review_items import find_item

if TYPE_CHECKING:
    from fine_tune_assets.desk.application import Desk


def show_history(desk: "Desk", visit: Visit) -> Response:
    example_id = visit.path("example_id")
    item = find_item(desk.ledger, example_id)
    if item is None:
        raise not_found()
    is_blind = reviews_blind(desk.rules())
    lines = history(
        desk.ledger,
        example_id,
        viewer=visit.who.name,
        may_see_all="reviewer" not in visit.who.roles,
        is_blind=is_blind,
    )
    is_hidden = is_blind and "reviewer" in visit.who.roles and item.state in ("waiting", "second_review")
    return page(desk, visit, "history.html", item=item, lines=lines, is_hidden=is_hidden, states=STATES)
