"""The review queue: what waits, how far it is, and the next item.

Items that are held back because of a mark are in no list here, until their report was scrubbed again.
"""

from typing import TYPE_CHECKING

from starlette.responses import Response

from fine_tune_assets.desk.queue_filter import AGES, STATES, QueueQuery, query_of
from fine_tune_assets.desk.rendering import go_to, page
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.ledger.queue_counts import queue_counts
from fine_tune_assets.ledger.review_items import list_items, next_item
from fine_tune_assets.ledger.review_rows import QueueFilter, ReviewItem

if TYPE_CHECKING:
    from fine_tune_assets.desk.application import Desk

PAGE_ITEMS = 50


def show_queue(desk: "Desk", visit: Visit) -> Response:
    query = query_of(visit.request.query_params)
    after = visit.query("after")
    found = _listed(desk, visit, query, after)
    rows = found[:PAGE_ITEMS]
    more = query.address("/queue", after=rows[-1].example_id) if len(found) > PAGE_ITEMS else ""
    template = "queue_rows.html" if visit.is_fragment and after else "queue.html"
    if template == "queue_rows.html":
        return page(desk, visit, template, rows=rows, more=more, query=query, states=STATES)
    tasks, facets = queue_counts(desk.ledger)
    return page(
        desk,
        visit,
        template,
        rows=rows,
        more=more,
        query=query,
        facets=facets,
        ages=AGES,
        states=STATES,
        held=len(desk.held_back.example_ids()),
        total=sum(task.total for task in tasks),
        open=sum(task.open for task in tasks),
        counts={state: sum(task.counts.get(state, 0) for task in tasks) for state in STATES},
    )


def open_next(desk: "Desk", visit: Visit) -> Response:
    """Lead to the next item that this reviewer may decide and nobody else has; to the queue if there is none."""
    query = query_of(visit.request.query_params)
    wanted, after = query.as_filter(visit.who.name, visit.now), visit.query("after")
    item = find_next(desk, visit, wanted, after) or (find_next(desk, visit, wanted, "") if after else None)
    said = visit.query("said")
    if item is None:
        return go_to(query.address("/queue", said=said or "done"))
    return go_to(query.address(f"/items/{item.example_id}", said=said))


def _listed(desk: "Desk", visit: Visit, query: QueueQuery, after: str) -> list[ReviewItem]:
    """One more than a page, so that it shows whether there are more."""
    held = desk.held_back.example_ids()
    limit = PAGE_ITEMS + 1 + len(held)
    found = list_items(
        desk.ledger,
        query.as_filter(visit.who.name, visit.now),
        viewer=visit.who.name,
        limit=limit,
        after=after or None,
    )
    return [item for item in found if item.example_id not in held]


def find_next(desk: "Desk", visit: Visit, wanted: QueueFilter, after: str) -> ReviewItem | None:
    """The first free one behind `after`, or of all, that is not held back."""
    held, name = desk.held_back.example_ids(), visit.who.name
    item = next_item(desk.ledger, wanted, viewer=name, now=visit.now, after=after or None)
    while item is not None and item.example_id in held:
        item = next_item(desk.ledger, wanted, viewer=name, now=visit.now, after=item.example_id)
    return item
