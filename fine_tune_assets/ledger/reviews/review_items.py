"""The review queue: one row a draft, with its state, who has it, and a version that counts every change.

Owns arriving and leaving, listing, counting, and assignment. Which state follows from which decisions is `approval`'s, and so
is who may decide; here a person is only not offered what they wrote or decided themselves. Texts are not here.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.people import is_same_person, person_key
from fine_tune_assets.ledger.database import Ledger, reading, select_fields, writing
from fine_tune_assets.ledger.errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.reviews.review_rows import (
    OPEN,
    OPEN_STATES,
    Facets,
    NewItem,
    QueueFilter,
    ReviewItem,
    SyncCounts,
    TaskProgress,
    as_lines,
    in_lines,
    new_item_of,
    row_of,
    spellings_of,
)
from fine_tune_assets.ledger.schema import review_items as items

REVIEW_STATES = ("waiting", "second_review")
"""Those that a reviewer is offered; a disagreement is for who adjudicates, and is asked for by name."""


class AssignedError(LedgerError):
    """Somebody else has the item now."""


def sync_items(target: Ledger | sa.Connection, new: Sequence[NewItem], now: datetime) -> SyncCounts:
    """Make the queue hold exactly the drafts of now: new ones arrive, others leave or come back, states are brought up.

    With a connection from `Ledger.begin()` it is part of that transaction. An item that leaves keeps its row and loses
    who had it; its decisions are about its content and wait for it to return.
    """
    with writing(target) as connection:
        known = {row["example_id"]: row for row in connection.execute(sa.select(items)).mappings()}
        rows = {item.example_id: row_of(item) for item in new}
        arrived = [row for key, row in rows.items() if key not in known]
        differing = [row for key, row in rows.items() if key in known and _differs(known[key], row)]
        gone = [key for key, row in known.items() if key not in rows and row["gone_at"] is None]
        returned = sum(known[row["example_id"]]["gone_at"] is not None for row in differing)
        if arrived:
            connection.execute(items.insert(), [{**row, "arrived_at": now, "version": 1} for row in arrived])
        if differing:
            _update_many(connection, differing, now)
        if gone:
            left = {"gone_at": now, "assigned_to": None, "assigned_until": None, "version": items.c.version + 1}
            leaving = items.update().where(items.c.example_id == sa.bindparam("key")).values(left)
            connection.execute(leaving, [{"key": key} for key in gone])
    return SyncCounts(len(arrived), returned, len(differing) - returned, len(gone), len(rows))


def set_states(
    connection: sa.Connection, states: Mapping[str, tuple[str, tuple[str, ...]]], free: Collection[str]
) -> None:
    """Example id → its state and those who decided, in this transaction; who had the ones in `free` has them no more."""
    for example_id, (state, decided_by) in states.items():
        changes: dict[str, Any] = {"state": state, "decided_by": as_lines(decided_by), "version": items.c.version + 1}
        if example_id in free:
            changes |= {"assigned_to": None, "assigned_until": None}
        connection.execute(items.update().where(items.c.example_id == example_id).values(changes))


def list_items(
    target: Ledger | sa.Connection, filter: QueueFilter, *, viewer: str | None, limit: int, after: str | None
) -> list[ReviewItem]:
    """Items of the queue, those with the most flags first, then by id; those that follow the example `after`.

    A `viewer` does not get open items that they wrote or decided already: nothing is left for them to do there, and what
    the next one decides must not be theirs to watch. With `viewer` None everything is listed.
    """
    with reading(target) as connection:
        query = _matching(connection, filter).where(*_following(connection, after))
        if viewer is not None:
            query = query.where(sa.or_(items.c.state.not_in(OPEN_STATES), _is_open_to(viewer)))
        return _items_of(connection, _in_order(query).limit(limit))


def next_item(
    ledger: Ledger, filter: QueueFilter, *, viewer: str, now: datetime, after: str | None
) -> ReviewItem | None:
    """The first open item behind `after` that this viewer may decide and nobody else has.

    Without a state in the filter that is a first or a second look; ask for `disagreement` to adjudicate.
    """
    with ledger.read() as connection:
        is_theirs = items.c.assigned_to.in_(spellings_of(connection, items.c.assigned_to, viewer))
        free = sa.or_(items.c.assigned_to.is_(None), items.c.assigned_until <= now, is_theirs)
        query = _matching(connection, filter).where(_is_open_to(viewer), free, *_following(connection, after))
        states = REVIEW_STATES if filter.state is None else OPEN_STATES
        found = _items_of(connection, _in_order(query.where(items.c.state.in_(states))).limit(1))
    return found[0] if found else None


def find_item(target: Ledger | sa.Connection, example_id: str) -> ReviewItem | None:
    """The item, also one whose draft is gone; None if there never was one."""
    with reading(target) as connection:
        found = _items_of(connection, select_fields(items, ReviewItem).where(items.c.example_id == example_id))
    return found[0] if found else None


def examples_in_states(ledger: Ledger, example_ids: Collection[str], states: Collection[str]) -> frozenset[str]:
    """Those of the examples whose content is in one of these states: in their own draft, or in another one that has it now."""
    present = items.alias()
    same = sa.exists().where(
        present.c.fingerprint == items.c.fingerprint, present.c.gone_at.is_(None), present.c.state.in_(states)
    )
    gone = sa.and_(items.c.gone_at.is_not(None), items.c.state.in_(states))
    query = sa.select(items.c.example_id).where(items.c.example_id.in_(example_ids), sa.or_(same, gone))
    with ledger.read() as connection:
        return frozenset(connection.execute(query).scalars())


def queue_counts(ledger: Ledger) -> tuple[list[TaskProgress], Facets]:
    """How many items of each task are in each state, and what there is to filter by, of one moment."""
    columns = (items.c.task, items.c.source, items.c.flag_kinds, items.c.state)
    query = sa.select(*columns, sa.func.count()).where(items.c.gone_at.is_(None)).group_by(*columns)
    tasks, sources, flags, states = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    by_task: dict[str, Counter[str]] = {}
    with ledger.read() as connection:
        for task, source, kinds, state, count in connection.execute(query):
            tasks[task] += count
            sources[source] += count
            states[state] += count
            flags.update(dict.fromkeys(in_lines(kinds), count))
            by_task.setdefault(task, Counter())[state] += count
    progress = [TaskProgress(task, dict(by_task[task])) for task in sorted(by_task)]
    return progress, Facets(*(_most_first(counted) for counted in (tasks, sources, flags, states)))


def _most_first(counted: Counter[str]) -> dict[str, int]:
    return dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))


def claim(ledger: Ledger, example_id: str, by: str, *, now: datetime, minutes: int) -> ReviewItem:
    """Give the item to `by` for so many minutes; who has it already has it longer.

    Raises AssignedError while somebody else has it, UnknownRecordError if it is not in the queue.
    """
    with ledger.begin() as connection:
        item = present_item(connection, example_id)
        require_free(item, by, now)
        is_theirs = item.assigned_to is not None and is_same_person(item.assigned_to, by)
        changes = {
            "assigned_to": by,
            "assigned_until": now + timedelta(minutes=minutes),
            # To have it longer is no change that anybody could overwrite.
            "version": item.version if is_theirs else item.version + 1,
        }
        connection.execute(items.update().where(items.c.example_id == example_id).values(changes))
    return replace(item, **changes)  # type: ignore[arg-type]


def release_claim(ledger: Ledger, example_id: str, by: str, *, now: datetime) -> ReviewItem:
    """Give it back. Nothing happens where nobody has it any more; raises AssignedError where somebody else does."""
    with ledger.begin() as connection:
        item = present_item(connection, example_id)
        require_free(item, by, now)
        changes: dict[str, Any] = {"assigned_to": None, "assigned_until": None}
        connection.execute(items.update().where(items.c.example_id == example_id).values(changes))
    return replace(item, **changes)  # type: ignore[arg-type]


def present_item(connection: sa.Connection, example_id: str) -> ReviewItem:
    """The item as it is in this transaction. Raises UnknownRecordError if its draft is gone, or there never was one."""
    item = find_item(connection, example_id)
    if item is None or item.gone_at is not None:
        raise UnknownRecordError(
            f"Example {example_id} is not in the review queue. List what waits: `fine-tune review list`."
        )
    return item


def require_free(item: ReviewItem, by: str, now: datetime) -> None:
    """Raise AssignedError while somebody other than `by` has the item."""
    if item.is_taken(by, now):
        assert item.assigned_until is not None
        raise AssignedError(
            f"{item.assigned_to} has example {item.example_id} until {item.assigned_until:%H:%M} UTC. Take the next one."
        )


def related_items(
    connection: sa.Connection, fingerprint: str, report_id: str | None, task: str | None
) -> list[NewItem]:
    """Every item whose state a decision about it can change: of the same content, or of the same report and task."""
    same_report = sa.and_(items.c.report_id == report_id, items.c.task == task)
    query = sa.select(items).where(items.c.gone_at.is_(None), sa.or_(items.c.fingerprint == fingerprint, same_report))
    return [new_item_of(dict(row)) for row in connection.execute(query).mappings()]


def _items_of(connection: sa.Connection, query: sa.Select[Any]) -> list[ReviewItem]:
    rows = connection.execute(query).mappings()
    return [ReviewItem(**{**row, "flag_kinds": in_lines(row["flag_kinds"])}) for row in rows]


def _matching(connection: sa.Connection, filter: QueueFilter) -> sa.Select[Any]:
    query = select_fields(items, ReviewItem).where(items.c.gone_at.is_(None))
    if filter.state is not None:
        query = query.where(items.c.state.in_(OPEN_STATES if filter.state == OPEN else (filter.state,)))
    for name in ("task", "source"):
        value = getattr(filter, name)
        if value is not None:
            query = query.where(items.c[name] == value)
    if filter.assigned_to is not None:
        names = spellings_of(connection, items.c.assigned_to, filter.assigned_to)
        query = query.where(items.c.assigned_to.in_(names))
    if filter.flag is not None:
        query = query.where(items.c.flag_kinds.contains(f"\n{filter.flag}\n", autoescape=True))
    if filter.arrived_before is not None:
        query = query.where(items.c.arrived_at < filter.arrived_before)
    if filter.arrived_after is not None:
        query = query.where(items.c.arrived_at > filter.arrived_after)
    return query


def _in_order(query: sa.Select[Any]) -> sa.Select[Any]:
    return query.order_by(items.c.flag_count.desc(), items.c.example_id)


def _following(connection: sa.Connection, after: str | None) -> list[sa.ColumnElement[bool]]:
    """What comes behind one example in the order of the queue. One that is no longer known starts from the beginning."""
    if after is None:
        return []
    flags = connection.execute(sa.select(items.c.flag_count).where(items.c.example_id == after)).scalar()
    if flags is None:
        return []
    same = sa.and_(items.c.flag_count == flags, items.c.example_id > after)
    return [sa.or_(items.c.flag_count < flags, same)]


def _is_open_to(viewer: str) -> sa.ColumnElement[bool]:
    """Not written and not decided by the viewer: a second look is another person's, and so is settling a disagreement."""
    key = person_key(viewer)
    not_theirs = sa.or_(items.c.author_key.is_(None), items.c.author_key != key)
    return sa.and_(not_theirs, sa.not_(items.c.decided_by.contains(f"\n{key}\n", autoescape=True)))


def _differs(known: Any, row: dict[str, Any]) -> bool:
    return known["gone_at"] is not None or any(known[name] != value for name, value in row.items())


def _update_many(connection: sa.Connection, rows: list[dict[str, Any]], now: datetime) -> None:
    """An item that comes back arrives anew; one that only changed keeps its age and who has it."""
    names = [name for name in rows[0] if name != "example_id"]
    arrived = sa.case((items.c.gone_at.is_(None), items.c.arrived_at), else_=now)
    changes: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in names}
    statement = (
        items.update()
        .where(items.c.example_id == sa.bindparam("key"))
        .values(**changes, arrived_at=arrived, gone_at=None, version=items.c.version + 1)
    )
    values = [{"key": row["example_id"], **{f"new_{name}": row[name] for name in names}} for row in rows]
    connection.execute(statement, values)
