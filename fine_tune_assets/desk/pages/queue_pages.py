"""Pages of the review queue: list, progress, filter and next item.

By default the queue lists what waits for the viewer. The filter is part of the query string. Unknown ages and states are ignored;
an unknown task, flag or source matches nothing. Withheld items are not listed until their report is scrubbed again, so that no
text of them is shown.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.rendering import redirect_to, render_page
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.desk.undo import FILTER_PREFIX
from fine_tune_assets.ledger.reviews.review_items import (
    AssignedError,
    claim_item,
    count_queue,
    count_reviewable,
    find_next_item,
    list_items,
    list_states,
)
from fine_tune_assets.ledger.reviews.review_rows import REVIEWABLE, STATES, QueueFilter, QueuePosition, ReviewItem
from fine_tune_assets.tables.record_classes import Record

PAGE_ITEMS = 50
PREVIEW_CHARACTERS = 120
ALL = "all"
"""Filter value for items in every state."""
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


class DraftOutput(Record):
    """The part of a draft that a row of the queue shows."""

    example_id: str
    output: str


@dataclass(frozen=True)
class QueueQuery:
    task: str = ""
    flag: str = ""
    source: str = ""
    age: str = ""
    state: str = ""
    """Empty: what waits for a review by the user."""
    mine: str = ""
    """`yes`: only items assigned to the user."""

    @property
    def is_empty(self) -> bool:
        return not any(vars(self).values())

    @property
    def is_narrowed(self) -> bool:
        """Whether it selects among what waits for the user, or among everything."""
        return not replace(self, state="").is_empty or self.state not in ("", ALL)

    def make_url(self, path: str, **more: str) -> str:
        """The path with this filter."""
        fields = {name: value for name, value in {**vars(self), **more}.items() if value}
        return f"{path}?{urlencode(fields)}" if fields else path

    @property
    def form_fields(self) -> dict[str, str]:
        """The filter as hidden fields of a form."""
        return {f"{FILTER_PREFIX}{name}": value for name, value in vars(self).items() if value}

    @property
    def ledger_state(self) -> str | None:
        return None if self.state == ALL else self.state or REVIEWABLE

    def to_filter(self, viewer: str, now: datetime) -> QueueFilter:
        day = timedelta(days=1)
        older = now - day * int(self.age) if self.age.isdecimal() else None
        return QueueFilter(
            task=self.task or None,
            source=self.source or None,
            flag=self.flag or None,
            state=self.ledger_state,
            assigned_to=viewer if self.mine else None,
            arrived_before=older,
            arrived_after=now - day if self.age == "new" else None,
        )


def parse_query(fields: Mapping[str, str]) -> QueueQuery:
    found = {name: fields.get(name, "")[:500] for name in QueueQuery.__dataclass_fields__}
    if found["age"] not in AGE_LABELS:
        found["age"] = ""
    if found["state"] not in (ALL, *STATE_LABELS):
        found["state"] = ""
    found["mine"] = "yes" if found["mine"] else ""
    return QueueQuery(**found)


def read_query(context: RequestContext) -> QueueQuery:
    """The reviewer's filter, from the address or from the form's hidden fields."""
    if not context.form.values:
        return parse_query(context.request.query_params)
    carried = {
        name.removeprefix(FILTER_PREFIX): context.form.get_text(name)
        for name in context.form.values
        if name.startswith(FILTER_PREFIX)
    }
    return parse_query(carried)


def show_queue(desk: Desk, context: RequestContext) -> Response:
    query, after = parse_query(context.request.query_params), read_position(context)
    found = list_visible_items(desk, context, query.to_filter(context.user.name, context.now), after)
    rows = found[:PAGE_ITEMS]
    listed: dict[str, Any] = {
        "rows": rows,
        "previews": read_previews(desk, rows),
        "more": make_next_url(query, "/queue", rows[-1]) if len(found) > PAGE_ITEMS else "",
        "query": query,
        "states": STATE_LABELS,
    }
    if context.is_fragment and after:
        return render_page(desk, context, "queue_rows.html", **listed)
    tasks, facets = count_queue(desk.ledger, list_states(query.ledger_state))
    withheld = desk.withheld.example_ids()
    return render_page(
        desk,
        context,
        "queue.html",
        **listed,
        facets=facets,
        ages=AGE_LABELS,
        waiting=count_reviewable(desk.ledger, context.user.name, withheld),
        withheld=len(withheld),
        total=sum(task.total for task in tasks),
        open=sum(task.open for task in tasks),
        counts={state: sum(task.counts.get(state, 0) for task in tasks) for state in STATE_LABELS},
    )


def open_next_item(desk: Desk, context: RequestContext) -> Response:
    """Redirect to the next free item that this reviewer may decide, or to the queue."""
    query = parse_query(context.request.query_params)
    item = _claim_next(desk, context, query.to_filter(context.user.name, context.now))
    notice = context.query_param("notice")
    if item is None:
        return redirect_to(query.make_url("/queue", notice=notice or "queue_empty"))
    return redirect_to(query.make_url(f"/items/{item.example_id}", notice=notice))


def _claim_next(desk: Desk, context: RequestContext, queue_filter: QueueFilter) -> ReviewItem | None:
    """Claimed before the redirect: two people who continue at the same moment get different items."""
    minutes = desk.read_review_settings().assignment_minutes
    while (item := find_next_for_viewer(desk, context, queue_filter)) is not None:
        with suppress(AssignedError):  # another reviewer was faster
            return claim_item(desk.ledger, item.example_id, context.user.name, now=context.now, minutes=minutes)
    return None


def read_previews(desk: Desk, rows: list[ReviewItem]) -> dict[str, str]:
    """Example id → the start of its drafted output, on one line."""
    drafts = desk.stored_texts.find_drafts([item.example_id for item in rows], DraftOutput)
    return {example_id: shorten(draft.output, PREVIEW_CHARACTERS) for example_id, draft in drafts.items()}


def shorten(text: str, length: int) -> str:
    """At most `length` characters on one line, ending with a whole word if possible.

    >>> shorten("Cough and\\nfever.", 9), shorten("Cough and fever.", 12), shorten("Pneumonoultra", 6)
    ('Cough and…', 'Cough and…', 'Pneumo…')
    """
    line = " ".join(text[: 4 * length].split())
    if len(line) <= length:
        return line
    start = line[: length + 1].rpartition(" ")[0] or line[:length]
    return f"{start}…"


def read_position(context: RequestContext) -> QueuePosition | None:
    """The place in the queue after which the address continues."""
    after, state = context.query_param("after"), context.query_param("after_state")
    return QueuePosition(after, state if state in STATES else None) if after else None


def make_next_url(query: QueueQuery, path: str, item: ReviewItem, **more: str) -> str:
    """The path, continuing after this item, in the state in which it was shown."""
    return query.make_url(path, after=item.example_id, after_state=item.state, **more)


def list_visible_items(
    desk: Desk, context: RequestContext, queue_filter: QueueFilter, after: QueuePosition | None
) -> list[ReviewItem]:
    """More than one page of items, if there are more, so that the caller sees whether another page follows."""
    withheld = desk.withheld.example_ids()
    limit = PAGE_ITEMS + 1 + len(withheld)
    found = list_items(desk.ledger, queue_filter, viewer=context.user.name, limit=limit, after=after)
    return [item for item in found if item.example_id not in withheld]


def find_next_for_viewer(desk: Desk, context: RequestContext, queue_filter: QueueFilter) -> ReviewItem | None:
    """The first free item that is not withheld: after the one named in the address, then from the start."""
    withheld, name, after = desk.withheld.example_ids(), context.user.name, read_position(context)
    for start in (after, None) if after else (None,):
        item = find_next_item(desk.ledger, queue_filter, viewer=name, now=context.now, after=start)
        while item is not None and item.example_id in withheld:
            passed = QueuePosition(item.example_id, item.state)
            item = find_next_item(desk.ledger, queue_filter, viewer=name, now=context.now, after=passed)
        if item is not None:
            return item
    return None
