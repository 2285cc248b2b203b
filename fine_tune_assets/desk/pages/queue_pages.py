"""The review queue: what waits, how far it is, its filter as it stands in an address, and the next item.

An unknown value of the filter is left out, never an error. Items that are held back because of a mark are in no list here, until
their report was scrubbed again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from urllib.parse import urlencode

from starlette.responses import Response

from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.rendering import go_to, page
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.ledger.reviews.review_items import list_items, next_item, queue_counts
from fine_tune_assets.ledger.reviews.review_rows import QueueFilter, ReviewItem

PAGE_ITEMS = 50
_IN_FORMS = "filter_"
AGES: Mapping[str, str] = MappingProxyType(
    {
        "new": "up to a day",
        "1": "more than a day",
        "7": "more than a week",
        "30": "more than 30 days",
    }
)
STATES: Mapping[str, str] = MappingProxyType(
    {
        "waiting": "waiting",
        "second_review": "second look",
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
    """`yes`: only those that I have."""

    @property
    def is_empty(self) -> bool:
        return not any(vars(self).values())

    def address(self, path: str, **more: str) -> str:
        """The path with this filter."""
        fields = {name: value for name, value in {**vars(self), **more}.items() if value}
        return f"{path}?{urlencode(fields)}" if fields else path

    @property
    def fields(self) -> dict[str, str]:
        """As a form carries it along."""
        return {f"{_IN_FORMS}{name}": value for name, value in vars(self).items() if value}

    def as_filter(self, viewer: str, now: datetime) -> QueueFilter:
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


def query_of(fields: Mapping[str, str]) -> QueueQuery:
    found = {name: fields.get(name, "")[:500] for name in QueueQuery.__dataclass_fields__}
    if found["age"] not in AGES:
        found["age"] = ""
    if found["state"] not in STATES:
        found["state"] = ""
    found["mine"] = "yes" if found["mine"] else ""
    return QueueQuery(**found)


def query_of_visit(visit: Visit) -> QueueQuery:
    """The filter that the reviewer works through: in the address, or carried along by a form."""
    if not visit.form.values:
        return query_of(visit.request.query_params)
    carried = {
        name.removeprefix(_IN_FORMS): visit.form.text(name) for name in visit.form.values if name.startswith(_IN_FORMS)
    }
    return query_of(carried)


def show_queue(desk: Desk, visit: Visit) -> Response:
    query = query_of(visit.request.query_params)
    after = visit.query("after")
    found = list_shown(desk, visit, query.as_filter(visit.who.name, visit.now), after)
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


def open_next(desk: Desk, visit: Visit) -> Response:
    """Lead to the next item that this reviewer may decide and nobody else has; to the queue if there is none."""
    query = query_of(visit.request.query_params)
    item = find_next(desk, visit, query.as_filter(visit.who.name, visit.now))
    said = visit.query("said")
    if item is None:
        return go_to(query.address("/queue", said=said or "done"))
    return go_to(query.address(f"/items/{item.example_id}", said=said))


def list_shown(desk: Desk, visit: Visit, wanted: QueueFilter, after: str) -> list[ReviewItem]:
    """At least one more than a page, if there are more."""
    held = desk.held_back.example_ids()
    limit = PAGE_ITEMS + 1 + len(held)
    found = list_items(desk.ledger, wanted, viewer=visit.who.name, limit=limit, after=after or None)
    return [item for item in found if item.example_id not in held]


def find_next(desk: Desk, visit: Visit, wanted: QueueFilter) -> ReviewItem | None:
    """The first free one that is not held back: behind the one that the address names, else from the start."""
    held, name, after = desk.held_back.example_ids(), visit.who.name, visit.query("after")
    for start in (after, None) if after else (None,):
        item = next_item(desk.ledger, wanted, viewer=name, now=visit.now, after=start)
        while item is not None and item.example_id in held:
            item = next_item(desk.ledger, wanted, viewer=name, now=visit.now, after=item.example_id)
        if item is not None:
            return item
    return None
