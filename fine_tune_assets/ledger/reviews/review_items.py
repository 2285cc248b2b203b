"""The review queue: one row per draft with its state, assignee and a version that counts every change.

`approval` decides states and permissions; the queue only hides from reviewers what they wrote or decided themselves. It contains
no texts.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.people import is_same_person, person_key
from fine_tune_assets.ledger.database import (
    Ledger,
    read_transaction,
    select_fields,
    split_into_chunks,
    write_transaction,
)
from fine_tune_assets.ledger.ledger_errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.ledger_tables import review_items as items
from fine_tune_assets.ledger.reviews.review_rows import (
    OPEN,
    OPEN_STATES,
    REVIEW_STATES,
    REVIEWABLE,
    STATES,
    Facets,
    NewItem,
    QueueFilter,
    QueuePosition,
    ReviewItem,
    SyncCounts,
    TaskProgress,
    find_spellings,
    from_row,
    join_lines,
    split_lines,
    to_row,
)

DECIDABLE_STATES = (*REVIEW_STATES, "trusted")
"""States in which a reviewer may decide. A trusted draft counts as approved until a reviewer decides on it."""
_UNAPPROVED = (*OPEN_STATES, "rejected")
_state_rank = sa.case(
    {state: rank for rank, state in enumerate(OPEN_STATES)}, value=items.c.state, else_=len(OPEN_STATES)
)
"""Order of the states in the queue: what waits first, closed items last."""
_MAX_CASES = 1000


class AssignedError(LedgerError):
    """The item is assigned to another person."""


def sync_items(target: Ledger | sa.Connection, new: Sequence[NewItem], now: datetime) -> SyncCounts:
    """Make the queue match the current drafts: add new ones, mark absent ones as removed, restore returning ones, update states.

    With a connection from `Ledger.begin()` it is part of that transaction. A removed item keeps its row but loses its assignee;
    its decisions belong to its content and apply again when it returns.
    """
    with write_transaction(target) as connection:
        known = {row["example_id"]: row for row in connection.execute(sa.select(items)).mappings()}
        rows = {item.example_id: to_row(item) for item in new}
        arrived = [row for key, row in rows.items() if key not in known]
        differing = [row for key, row in rows.items() if key in known and _differs(known[key], row)]
        removed = [key for key, row in known.items() if key not in rows and row["removed_at"] is None]
        returned = sum(known[row["example_id"]]["removed_at"] is not None for row in differing)
        if arrived:
            connection.execute(items.insert(), [{**row, "arrived_at": now, "version": 1} for row in arrived])
        if differing:
            _update_many(connection, differing, now)
        if removed:
            changes = {"removed_at": now, "assigned_to": None, "assigned_until": None, "version": items.c.version + 1}
            leaving = items.update().where(items.c.example_id == sa.bindparam("key")).values(changes)
            connection.execute(leaving, [{"key": key} for key in removed])
    return SyncCounts(len(arrived), returned, len(differing) - returned, len(removed), len(rows))


def set_states(
    connection: sa.Connection, states: Mapping[str, tuple[str, tuple[str, ...]]], unassign: Collection[str]
) -> None:
    """Set the state and deciders of examples in this transaction, and clear the assignee of those in `unassign`."""
    for example_id, (state, decided_by) in states.items():
        changes: dict[str, Any] = {"state": state, "decided_by": join_lines(decided_by), "version": items.c.version + 1}
        if example_id in unassign:
            changes |= {"assigned_to": None, "assigned_until": None}
        connection.execute(items.update().where(items.c.example_id == example_id).values(changes))


def list_items(
    target: Ledger | sa.Connection,
    filter: QueueFilter,
    *,
    viewer: str | None,
    limit: int,
    after: QueuePosition | None,
) -> list[ReviewItem]:
    """Items by state, those that wait first; then by number of flags, the most first; then by arrival, the oldest first.

    A `viewer` does not get open items that they wrote or already decided, because they can't act on them and must not watch the
    next decision. With `viewer` None everything is listed.
    """
    with read_transaction(target) as connection:
        query = _filter_items(connection, filter).where(*_after_position(connection, filter, after))
        if viewer is not None:
            query = query.where(sa.or_(items.c.state.not_in(OPEN_STATES), _is_available_to(viewer)))
        return _fetch_items(connection, _sort_items(query).limit(limit))


def find_next_item(
    ledger: Ledger, filter: QueueFilter, *, viewer: str, now: datetime, after: QueuePosition | None
) -> ReviewItem | None:
    """The first unassigned item after `after` that this viewer may decide.

    Without a state in the filter, that is a first or second review; filter by `disagreement` to adjudicate, or by `trusted`.
    """
    with ledger.read() as connection:
        query = _filter_free_items(connection, filter, viewer, now)
        query = query.where(*_after_position(connection, filter, after))
        found = _fetch_items(connection, _sort_items(query).limit(1))
    return found[0] if found else None


def count_free_items(
    ledger: Ledger, filter: QueueFilter, *, viewer: str, now: datetime, excluded: Collection[str]
) -> int:
    """The items that `find_next_item` would offer this viewer one after the other, without the excluded examples."""
    with ledger.read() as connection:
        query = _filter_free_items(connection, filter, viewer, now).where(items.c.example_id.not_in(excluded))
        return connection.execute(query.with_only_columns(sa.func.count())).scalar_one()


def find_item(target: Ledger | sa.Connection, example_id: str) -> ReviewItem | None:
    """The item, including removed ones; None if it never existed."""
    with read_transaction(target) as connection:
        found = _fetch_items(connection, select_fields(items, ReviewItem).where(items.c.example_id == example_id))
    return found[0] if found else None


def list_identical_ids(ledger: Ledger, case_key: str, *, viewer: str, now: datetime) -> list[str]:
    """The waiting items with this key that the viewer may decide now, oldest first.

    Of items with the same content there is one: a decision on it decides the others.
    """
    first, arrived = sa.func.min(items.c.example_id), sa.func.min(items.c.arrived_at)
    with ledger.read() as connection:
        query = sa.select(first).where(
            items.c.case_key == case_key,
            items.c.case_key != "",
            items.c.state == "waiting",
            items.c.removed_at.is_(None),
            _is_available_to(viewer),
            _is_free_for(connection, viewer, now),
        )
        ordered = query.group_by(items.c.fingerprint).order_by(arrived, first).limit(_MAX_CASES)
        return [str(example_id) for example_id in connection.execute(ordered).scalars()]


def find_items(target: Ledger | sa.Connection, example_ids: Collection[str]) -> dict[str, ReviewItem]:
    """Example id → item, including removed ones; for at most 500 examples."""
    query = select_fields(items, ReviewItem).where(items.c.example_id.in_(example_ids))
    with read_transaction(target) as connection:
        return {item.example_id: item for item in _fetch_items(connection, query)} if example_ids else {}


def is_decidable_by(ledger: Ledger, example_id: str, viewer: str) -> bool:
    """Whether this viewer may decide on the item, unless it is assigned to another person."""
    query = sa.select(items.c.example_id).where(
        items.c.example_id == example_id,
        items.c.removed_at.is_(None),
        items.c.state.in_(DECIDABLE_STATES),
        _is_available_to(viewer),
    )
    with ledger.read() as connection:
        return connection.execute(query).first() is not None


def count_reviewable(ledger: Ledger, viewer: str, withheld: Collection[str]) -> int:
    """The items that wait for a decision and that this viewer may decide; without those in `withheld`."""
    query = (
        sa.select(sa.func.count())
        .select_from(items)
        .where(items.c.removed_at.is_(None), items.c.state.in_(REVIEW_STATES), _is_available_to(viewer))
    )
    with ledger.read() as connection:
        every = int(connection.execute(query).scalar_one())
        parts = (query.where(items.c.example_id.in_(part)) for part in split_into_chunks(withheld))
        return every - sum(int(connection.execute(part).scalar_one()) for part in parts)


def select_examples_in_states(ledger: Ledger, example_ids: Collection[str], states: Collection[str]) -> frozenset[str]:
    """The examples whose content is in one of these states, in their own draft or in another current draft with that content."""
    present = items.alias()
    same = sa.exists().where(
        present.c.fingerprint == items.c.fingerprint, present.c.removed_at.is_(None), present.c.state.in_(states)
    )
    is_removed = sa.and_(items.c.removed_at.is_not(None), items.c.state.in_(states))
    query = sa.select(items.c.example_id).where(items.c.example_id.in_(example_ids), sa.or_(same, is_removed))
    with ledger.read() as connection:
        return frozenset(connection.execute(query).scalars())


def list_unapproved_ids(ledger: Ledger) -> dict[str, list[str]]:
    """State → the current drafts in it, for each state in which a draft is not approved.

    The database joins the ids, since a row object for each of a million drafts would take most of the time.
    """
    joined = sa.func.aggregate_strings(items.c.example_id, "\n")
    query = sa.select(items.c.state, joined).where(items.c.removed_at.is_(None), items.c.state.in_(_UNAPPROVED))
    with ledger.read() as connection:
        return {state: ids.split("\n") for state, ids in connection.execute(query.group_by(items.c.state))}


def count_item_versions(ledger: Ledger) -> tuple[int, int]:
    """Items, and the sum of their versions: one of the two increases with each change."""
    with ledger.read() as connection:
        count, versions = connection.execute(sa.select(sa.func.count(), sa.func.sum(items.c.version))).one()
    return count, versions or 0


def count_queue(ledger: Ledger, listed_states: Collection[str] = STATES) -> tuple[list[TaskProgress], Facets]:
    """Items per task and state, and the filter options for items in `listed_states`, from one snapshot."""
    columns = (items.c.task, items.c.source, items.c.flag_kinds, items.c.state)
    query = sa.select(*columns, sa.func.count()).where(items.c.removed_at.is_(None)).group_by(*columns)
    tasks, sources, flags, states = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    by_task: dict[str, Counter[str]] = {}
    with ledger.read() as connection:
        for task, source, kinds, state, count in connection.execute(query):
            by_task.setdefault(task, Counter())[state] += count
            states[state] += count
            if state in listed_states:
                tasks[task] += count
                sources[source] += count
                flags.update(dict.fromkeys(split_lines(kinds), count))
    progress = [TaskProgress(task, dict(by_task[task])) for task in sorted(by_task)]
    return progress, Facets(*(_sort_by_count(counted) for counted in (tasks, sources, flags, states)))


def _sort_by_count(counted: Counter[str]) -> dict[str, int]:
    return dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))


def claim_item(ledger: Ledger, example_id: str, by: str, *, now: datetime, minutes: int) -> ReviewItem:
    """Assign the item to `by` for some minutes, or extend their assignment.

    Raises AssignedError if it is assigned to another person, UnknownRecordError if it is not in the queue.
    """
    with ledger.begin() as connection:
        item = require_item(connection, example_id)
        require_available(item, by, now)
        is_theirs = item.assigned_to is not None and is_same_person(item.assigned_to, by)
        changes = {
            "assigned_to": by,
            "assigned_until": now + timedelta(minutes=minutes),
            # An extension is not a change that anyone could overwrite, so it keeps the version.
            "version": item.version if is_theirs else item.version + 1,
        }
        connection.execute(items.update().where(items.c.example_id == example_id).values(changes))
    return replace(item, **changes)  # type: ignore[arg-type]


def release_claim(ledger: Ledger, example_id: str, by: str, *, now: datetime) -> ReviewItem:
    """Clear the assignment, if there is one. Raises AssignedError if the item is assigned to another person."""
    with ledger.begin() as connection:
        item = require_item(connection, example_id)
        require_available(item, by, now)
        changes: dict[str, Any] = {"assigned_to": None, "assigned_until": None}
        connection.execute(items.update().where(items.c.example_id == example_id).values(changes))
    return replace(item, **changes)  # type: ignore[arg-type]


def require_item(connection: sa.Connection, example_id: str) -> ReviewItem:
    """The item within this transaction. Raises UnknownRecordError if it does not exist or was removed."""
    return require_present(find_item(connection, example_id), example_id)


def require_present(item: ReviewItem | None, example_id: str) -> ReviewItem:
    """Raises as `require_item`."""
    if item is None or item.removed_at is not None:
        raise UnknownRecordError(
            f"Example {example_id} is not in the review queue. To list open items: `fine-tune review list`"
        )
    return item


def require_available(item: ReviewItem, by: str, now: datetime) -> None:
    """Raise AssignedError if the item is assigned to a person other than `by`."""
    if item.is_assigned_to_other(by, now):
        assert item.assigned_until is not None
        raise AssignedError(
            f"Example {item.example_id} is assigned to {item.assigned_to} until {item.assigned_until:%H:%M} UTC. "
            "Take the next one."
        )


def list_related_items(
    connection: sa.Connection, contents: Collection[str], report_tasks: Collection[tuple[str | None, str | None]]
) -> list[NewItem]:
    """Every item whose state decisions on these contents, or on these reports and tasks, can change."""
    of_reports = items.c.report_id.in_({report_id for report_id, _ in report_tasks if report_id is not None})
    # Removed items are dropped here: with that condition, SQLite scans the index of all present items.
    query = sa.select(items).where(sa.or_(items.c.fingerprint.in_(contents), of_reports))
    rows = [dict(row) for row in connection.execute(query).mappings() if row["removed_at"] is None]
    return [
        from_row(row)
        for row in rows
        if row["fingerprint"] in contents or (row["report_id"], row["task"]) in report_tasks
    ]


def list_report_items(ledger: Ledger, report_ids: Collection[str]) -> list[ReviewItem]:
    """The items of these reports, including removed ones; newest first."""
    query = select_fields(items, ReviewItem).where(items.c.report_id.in_(report_ids))
    with ledger.read() as connection:
        return _fetch_items(connection, query.order_by(items.c.arrived_at.desc(), items.c.example_id))


def _fetch_items(connection: sa.Connection, query: sa.Select[Any]) -> list[ReviewItem]:
    rows = connection.execute(query).mappings()
    return [ReviewItem(**{**row, "flag_kinds": split_lines(row["flag_kinds"])}) for row in rows]


def _filter_items(connection: sa.Connection, filter: QueueFilter) -> sa.Select[Any]:
    query = select_fields(items, ReviewItem).where(items.c.removed_at.is_(None))
    if filter.state is not None:
        query = query.where(items.c.state.in_(list_states(filter.state)))
    for name in ("task", "source"):
        value = getattr(filter, name)
        if value is not None:
            query = query.where(items.c[name] == value)
    if filter.assigned_to is not None:
        names = find_spellings(connection, items.c.assigned_to, filter.assigned_to)
        query = query.where(items.c.assigned_to.in_(names))
    if filter.flag is not None:
        query = query.where(items.c.flag_kinds.contains(f"\n{filter.flag}\n", autoescape=True))
    if filter.arrived_before is not None:
        query = query.where(items.c.arrived_at < filter.arrived_before)
    if filter.arrived_after is not None:
        query = query.where(items.c.arrived_at > filter.arrived_after)
    return query


def list_states(state: str | None) -> tuple[str, ...]:
    """The states that a filter value selects."""
    return {None: STATES, OPEN: OPEN_STATES, REVIEWABLE: REVIEW_STATES}.get(state) or (str(state),)


def _filter_free_items(connection: sa.Connection, filter: QueueFilter, viewer: str, now: datetime) -> sa.Select[Any]:
    """The items that this viewer may decide and that no other person has claimed."""
    states = REVIEW_STATES if filter.state is None else (*OPEN_STATES, "trusted")
    return _filter_items(connection, filter).where(
        _is_available_to(viewer), _is_free_for(connection, viewer, now), items.c.state.in_(states)
    )


def _sort_items(query: sa.Select[Any]) -> sa.Select[Any]:
    return query.order_by(_state_rank, items.c.flag_count.desc(), items.c.arrived_at, items.c.example_id)


def _after_position(
    connection: sa.Connection, filter: QueueFilter, after: QueuePosition | None
) -> list[sa.ColumnElement[bool]]:
    """Condition for items after one example in queue order. An unknown example starts from the beginning."""
    if after is None:
        return []
    found = find_item(connection, after.example_id)
    if found is None:
        return []
    state = after.state or (filter.state if filter.state in STATES else found.state)
    rank = OPEN_STATES.index(state) if state in OPEN_STATES else len(OPEN_STATES)
    condition: sa.ColumnElement[bool] = items.c.example_id > found.example_id
    for is_equal, is_after in (
        (items.c.arrived_at == found.arrived_at, items.c.arrived_at > found.arrived_at),
        (items.c.flag_count == found.flag_count, items.c.flag_count < found.flag_count),
        (_state_rank == rank, _state_rank > rank),
    ):
        condition = sa.or_(is_after, sa.and_(is_equal, condition))
    return [condition]


def _is_free_for(connection: sa.Connection, viewer: str, now: datetime) -> sa.ColumnElement[bool]:
    """Items that are not assigned to another person."""
    is_theirs = items.c.assigned_to.in_(find_spellings(connection, items.c.assigned_to, viewer))
    return sa.or_(items.c.assigned_to.is_(None), items.c.assigned_until <= now, is_theirs)


def _is_available_to(viewer: str) -> sa.ColumnElement[bool]:
    """Items that the viewer neither wrote nor decided: a second review and an adjudication need another person."""
    key = person_key(viewer)
    not_theirs = sa.or_(items.c.author_key.is_(None), items.c.author_key != key)
    return sa.and_(not_theirs, sa.not_(items.c.decided_by.contains(f"\n{key}\n", autoescape=True)))


def _differs(known: Any, row: dict[str, Any]) -> bool:
    return known["removed_at"] is not None or any(known[name] != value for name, value in row.items())


def _update_many(connection: sa.Connection, rows: list[dict[str, Any]], now: datetime) -> None:
    """A returning item gets a new arrival time; a changed one keeps its arrival time and assignee."""
    names = [name for name in rows[0] if name != "example_id"]
    arrived = sa.case((items.c.removed_at.is_(None), items.c.arrived_at), else_=now)
    changes: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in names}
    statement = (
        items.update()
        .where(items.c.example_id == sa.bindparam("key"))
        .values(**changes, arrived_at=arrived, removed_at=None, version=items.c.version + 1)
    )
    values = [{"key": row["example_id"], **{f"new_{name}": row[name] for name in names}} for row in rows]
    connection.execute(statement, values)
