"""The way of one example: from its report over draft and decisions to the models that learned from it.

Owns that a reviewer who may still give the second look does not see the first one here. The steps after the decisions are
`lineage`'s.
"""

from typing import TYPE_CHECKING

from starlette.responses import Response

from fine_tune_assets.approval.reviewing import history, reviews_blind
from fine_tune_assets.desk.errors import not_found
from fine_tune_assets.desk.queue_filter import STATES
from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.ledger.review_items import find_item
from fine_tune_assets.lineage.records import ExampleTrace
from fine_tune_assets.lineage.tracing import UnknownIdError, trace_example

if TYPE_CHECKING:
    from fine_tune_assets.desk.application import Desk


def show_history(desk: "Desk", visit: Visit) -> Response:
    example_id = visit.path("example_id")
    item = find_item(desk.ledger, example_id)
    if item is None:
        raise not_found()
    is_blind = reviews_blind(desk.rules())
    may_see_all = "reviewer" not in visit.who.roles
    lines = history(desk.ledger, example_id, viewer=visit.who.name, may_see_all=may_see_all, is_blind=is_blind)
    is_hidden = is_blind and not may_see_all and item.state in ("waiting", "second_review")
    # A set or a model tells that somebody approved it: that too is for later.
    trace = None if is_hidden else _trace(desk, example_id)
    # The report's id and its file may hold a name: for those who handle the files.
    origin = trace.report if trace and "operator" in visit.who.roles else None
    return page(
        desk,
        visit,
        "history.html",
        item=item,
        lines=lines,
        is_hidden=is_hidden,
        trace=trace,
        states=STATES,
        report_number=desk.texts.report_number(item.report_id),
        origin=origin,
    )


def _trace(desk: "Desk", example_id: str) -> ExampleTrace | None:
    try:
        return trace_example(desk.settings.layout, desk.ledger, example_id)
    except UnknownIdError:
        return None
