"""Logs gateway requests as a hash chain and counts what callers used of their limits.

An entry contains a keyed hash of the prompt, never text. Counters use UTC minutes and days and are deleted after two days. When
old entries are pruned, an audit log entry records the last pruned hash, so that the rest stays verifiable.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import sqlalchemy as sa

from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.audit.chains import Chain, ChainCheck, ChainStart
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import caller_usage as table
from fine_tune_assets.ledger.ledger_tables import deployments, request_entries

UsageKind = Literal["requests", "tokens"]
_RETENTION = timedelta(days=2)
LEASES_PER_LIMIT = 20
"""Number of leases per limit: a process takes one lease at a time, so that one write covers many requests."""


def period_start(kind: UsageKind, now: datetime) -> datetime:
    minute = now.replace(second=0, microsecond=0)
    return minute if kind == "requests" else minute.replace(hour=0, minute=0)


def period_end(kind: UsageKind, now: datetime) -> datetime:
    return period_start(kind, now) + (timedelta(minutes=1) if kind == "requests" else timedelta(days=1))


def lease_requests(ledger: Ledger, caller: str, limit: int, now: datetime) -> tuple[int, int]:
    """Lease part of this minute's remaining requests; return the leased and the remaining number, (0, 0) if none remain.

    Leased requests count as used even if they are never made, so the limit holds when a process is killed.
    """
    slot = period_start("requests", now)
    with ledger.begin() as connection:
        used = _used(connection, caller, "requests", slot)
        taken = min(max(1, limit // LEASES_PER_LIMIT), max(0, limit - used))
        if taken:
            _add(connection, caller, "requests", slot, taken)
        connection.execute(table.delete().where(table.c.period_start < now - _RETENTION))
    return taken, max(0, limit - used - taken)


def add_tokens(connection: sa.Connection, tokens: Mapping[str, int], now: datetime) -> None:
    """Add tokens by caller, within a transaction of `Ledger.begin()`."""
    for caller, count in tokens.items():
        _add(connection, caller, "tokens", period_start("tokens", now), count)


def count_tokens_used(ledger: Ledger, caller: str, now: datetime) -> int:
    """Tokens used this UTC day."""
    with ledger.read() as connection:
        return _used(connection, caller, "tokens", period_start("tokens", now))


def _used(connection: sa.Connection, caller: str, kind: UsageKind, slot: datetime) -> int:
    query = sa.select(table.c.used).where(table.c.caller == caller, table.c.kind == kind, table.c.period_start == slot)
    return int(connection.execute(query).scalar() or 0)


def _add(connection: sa.Connection, caller: str, kind: UsageKind, slot: datetime, count: int) -> None:
    is_counter = (table.c.caller == caller) & (table.c.kind == kind) & (table.c.period_start == slot)
    changed = connection.execute(table.update().where(is_counter).values(used=table.c.used + count))
    if not changed.rowcount:
        connection.execute(table.insert().values(caller=caller, kind=kind, period_start=slot, used=count))


ANSWER_ROUTES = ("/v1/chat/completions", "/v1/completions")
"""Routes whose answers come from a release."""
MAX_COUNTED_REQUESTS = 100_000
"""Newest entries that are read to count answers by caller: the log can be large."""
_PRUNED_BY, _PRUNED = "gateway", "pruned request log up to"


@dataclass(frozen=True)
class RequestEntry:
    """The columns of `request_entries`, except the chain's own."""

    at: datetime
    caller: str | None
    route: str
    status: int
    code: str | None
    release_id: str | None
    tokens_in: int | None
    tokens_out: int | None
    milliseconds: int
    prompt_hash: str | None
    identifier_count: int | None
    request_count: int = 1
    labels: str | None = None


_CHAIN = Chain(request_entries, tuple(name for name in RequestEntry.__dataclass_fields__ if name != "at"))


def record_requests(
    ledger: Ledger,
    entries: Sequence[RequestEntry],
    tokens: Mapping[str, int],
    now: datetime,
    *,
    is_durable: bool = True,
) -> None:
    """Record all entries and token counts by caller in one transaction. `is_durable`: see `Ledger.begin`."""
    with ledger.begin(is_durable=is_durable) as connection:
        _CHAIN.append(connection, [vars(line) for line in entries], _start)
        add_tokens(connection, tokens, now)


def verify_requests(ledger: Ledger) -> ChainCheck:
    while True:
        with ledger.read() as connection:
            start = _start(connection)
        check = _CHAIN.verify(ledger, start)
        with ledger.read() as connection:
            if check.is_intact or _start(connection) == start:  # otherwise entries were pruned meanwhile
                return check


def prune_requests(ledger: Ledger, before: datetime) -> int:
    """Delete the entries at the start of the chain that are older; return their number."""
    columns = request_entries.c
    with ledger.begin() as connection:
        first_kept = connection.execute(sa.select(sa.func.min(columns.position)).where(columns.at >= before)).scalar()
        old = sa.select(columns.position, columns.entry_hash).order_by(columns.position.desc()).limit(1)
        last = connection.execute(old if first_kept is None else old.where(columns.position < first_kept)).first()
        if last is None:
            return 0
        deleted = connection.execute(request_entries.delete().where(columns.position <= last.position))
        audit.append(connection, _PRUNED_BY, _PRUNED, f"{last.position} {last.entry_hash}")
        return int(deleted.rowcount)


def count_answers_by_release(ledger: Ledger) -> dict[str, int]:
    """Release → complete answers that it gave to users.

    Omits releases requested before the oldest entry: some of their answers may have been pruned.
    """
    columns = request_entries.c
    is_answer = columns.route.in_(ANSWER_ROUTES) & (columns.status == 200) & columns.code.is_(None)
    query = sa.select(columns.release_id, sa.func.count()).where(is_answer, columns.release_id.is_not(None))
    with ledger.read() as connection:
        counted = {name: int(count) for name, count in connection.execute(query.group_by(columns.release_id))}
        if _start(connection) is None:  # nothing was ever pruned
            return counted
        oldest = connection.execute(sa.select(sa.func.min(columns.at))).scalar()
        older = sa.select(deployments.c.release_id).where(deployments.c.requested_at < oldest)
        requested_earlier = set(connection.execute(older).scalars())
    return {name: count for name, count in counted.items() if name not in requested_earlier}


def count_answers_by_caller(ledger: Ledger, release_id: str, since: datetime) -> dict[str, int]:
    """`key:ID` or `oidc:SUBJECT` → complete answers of the release since then, among the newest MAX_COUNTED_REQUESTS requests.

    The people that a key acts for count as the key: it chooses their names.
    """
    columns = request_entries.c
    names = ("at", "caller", "route", "status", "code", "release_id")
    newest = sa.select(*(columns[name] for name in names)).order_by(columns.position.desc()).limit(MAX_COUNTED_REQUESTS)
    found = newest.subquery().c
    is_answer = found.route.in_(ANSWER_ROUTES) & (found.status == 200) & found.code.is_(None)
    query = (
        sa.select(found.caller, sa.func.count())
        .where(is_answer, found.release_id == release_id, found.at >= since, found.caller.is_not(None))
        .group_by(found.caller)
    )
    counted: Counter[str] = Counter()
    with ledger.read() as connection:
        for caller, count in connection.execute(query):
            counted[caller.partition(" for ")[0]] += count
    return dict(counted)


def list_recent_answers(ledger: Ledger, release_id: str, limit: int) -> list[tuple[datetime, int, int | None]]:
    """Time, milliseconds and output tokens of a release's newest complete answers."""
    columns = request_entries.c
    is_answer = columns.route.in_(ANSWER_ROUTES) & (columns.status == 200) & columns.code.is_(None)
    query = (
        sa.select(columns.at, columns.milliseconds, columns.tokens_out)
        .where(is_answer, columns.release_id == release_id)
        .order_by(columns.position.desc())
        .limit(limit)
    )
    with ledger.read() as connection:
        return [(at, milliseconds, tokens) for at, milliseconds, tokens in connection.execute(query)]


def _start(connection: sa.Connection) -> ChainStart | None:
    resource = audit.find_newest_resource(connection, _PRUNED_BY, _PRUNED)
    if resource is None:
        return None
    position, _, entry_hash = resource.partition(" ")
    return ChainStart(int(position), entry_hash)
