"""Pages of the review queue: list, progress, filter and next item.

The filter is part of the query string. Unknown ages and states are ignored; an unknown task, flag or source matches nothing.
Withheld items are not listed until their report is scrubbed again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from urllib.parse import urlencode

from starlette.responses import Response

from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.rendering import redirect_to, render_page
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.ledger.reviews.review_items import count_queue, find_next_item, list_items
from fine_tune_assets.ledger.reviews.review_rows import QueueFilter, ReviewItem

PAGE_ITEMS = 50
_FORM_PREFIX = "filter_"
AGE_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "new": "up to a day",
        "1": "more than a day",
        "7": "more than a week",
        "30": "more than 30 days",
    }
)
STATE_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "waiting": "waiting",
        "second_review": "second review",
        "disagreement": "disagreement",
        "approved": "approved",
        "rejected": "rejected",
        "trusted": "trusted source",
    }
)


@dataclass(frozen=True)
class QueueQuery:
    task: str = ""
    flag: str = ""
    source: str = ""
    age: str = ""
    state: str = ""
    mine: str = ""
    """`yes`: only items assigned to the user."""

    @property
    def is_empty(self) -> bool:
        return not any(vars(self).values())

    def make_url(self, path: str, **more: str) -> str:
        """The path with this filter."""
        fields = {name: value for name, value in {**vars(self), **more}.items() if value}
        return f"{path}?{urlencode(fields)}" if fields else path

    @property
    def form_fields(self) -> dict[str, str]:
        """The filter as hidden fields of a form."""
        return {f"{_FORM_PREFIX}{name}": value for name, value in vars(self).items() if value}

    def to_filter(self, viewer: str, now: datetime) -> QueueFilter:
        day = timedelta(days=1)
        older = now - day * int(self.age) if self.age.isdecimal() else None
        return QueueFilter(
            task=self.task or None,
            source=self.source or None,
            flag=self.flag or None,
            state=self.state or None,
            assigned_to=viewer if self.mine else None,
            arrived_before=older,
            arrived_after=now - day if self.age == "new" else None,
        )


def parse_query(fields: Mapping[str, str]) -> QueueQuery:
    found = {name: fields.get(name, "")[:500] for name in QueueQuery.__dataclass_fields__}
    if found["age"] not in AGE_LABELS:
        found["age"] = ""
    if found["state"] not in STATE_LABELS:
        found["state"] = ""
    found["mine"] = "yes" if found["mine"] else ""
    return QueueQuery(**found)


def read_query(context: RequestContext) -> QueueQuery:
    """The reviewer's filter, from the address or from the form's hidden fields."""
    if not context.form.values:
        return parse_query(context.request.query_params)
    carried = {
        name.removeprefix(_FORM_PREFIX): context.form.get_text(name)
        for name in context.form.values
        if name.startswith(_FORM_PREFIX)
    }
    return parse_query(carried)


def show_queue(desk: Desk, context: RequestContext) -> Response:
    query = parse_query(context.request.query_params)
    after = context.query_param("after")
    found = list_visible_items(desk, context, query.to_filter(context.user.name, context.now), after)
    rows = found[:PAGE_ITEMS]
    more = query.make_url("/queue", after=rows[-1].example_id) if len(found) > PAGE_ITEMS else ""
    template = "queue_rows.html" if context.is_fragment and after else "queue.html"
    if template == "queue_rows.html":
        return render_page(desk, context, template, rows=rows, more=more, query=query, states=STATE_LABELS)
    tasks, facets = count_queue(desk.ledger)
    return render_page(
        desk,
        context,
        template,
        rows=rows,
        more=more,
        query=query,
        facets=facets,
        ages=AGE_LABELS,
        states=STATE_LABELS,
        withheld=len(desk.withheld.example_ids()),
        total=sum(task.total for task in tasks),
        open=sum(task.open for task in tasks),
        counts={state: sum(task.counts.get(state, 0) for task in tasks) for state in STATE_LABELS},
    )


def open_next_item(desk: Desk, context: RequestContext) -> Response:
    """Redirect to the next free item that this reviewer may decide, or to the queue."""
    query = parse_query(context.request.query_params)
    item = find_next_for_viewer(desk, context, query.to_filter(context.user.name, context.now))
    notice = context.query_param("notice")
    if item is None:
        return redirect_to(query.make_url("/queue", notice=notice or "queue_empty"))
    return redirect_to(query.make_url(f"/items/{item.example_id}", notice=notice))


def list_visible_items(desk: Desk, context: RequestContext, queue_filter: QueueFilter, after: str) -> list[ReviewItem]:
    """More than one page of items, if there are more, so that the caller sees whether another page follows."""
    withheld = desk.withheld.example_ids()
    limit = PAGE_ITEMS + 1 + len(withheld)
    found = list_items(desk.ledger, queue_filter, viewer=context.user.name, limit=limit, after=after or None)
    return [item for item in found if item.example_id not in withheld]


def find_next_for_viewer(desk: Desk, context: RequestContext, queue_filter: QueueFilter) -> ReviewItem | None:
    """The first free item that is not withheld: after the one named in the address, then from the start."""
    withheld, name, after = desk.withheld.example_ids(), context.user.name, context.query_param("after")
    for start in (after, None) if after else (None,):
        item = find_next_item(desk.ledger, queue_filter, viewer=name, now=context.now, after=start)
        while item is not None and item.example_id in withheld:
            item = find_next_item(desk.ledger, queue_filter, viewer=name, now=context.now, after=item.example_id)
        if item is not None:
            return item
    return None
