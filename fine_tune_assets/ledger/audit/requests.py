"""Requests of the gateway: a line for each as a chain of its own, and what callers used of their limits.

Minutes and days of the counters are of UTC; what is older than two days goes. A line never holds text: what was asked is there as
a keyed hash. When old lines are cut off, a line of the audit log names what was cut and its last hash, so that the rest can still
be checked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import sqlalchemy as sa

from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.audit.chains import Chain, ChainCheck, Start
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import caller_usage as table
from fine_tune_assets.ledger.schema import deployments, request_lines

What = Literal["requests", "tokens"]
_KEPT = timedelta(days=2)
LEASES = 20
"""Parts of a limit: a process takes one at a time, so that it writes once for many requests."""


def slot_of(what: What, now: datetime) -> datetime:
    whole_minute = now.replace(second=0, microsecond=0)
    return whole_minute if what == "requests" else whole_minute.replace(hour=0, minute=0)


def slot_end(what: What, now: datetime) -> datetime:
    return slot_of(what, now) + (timedelta(minutes=1) if what == "requests" else timedelta(days=1))


def lease_requests(ledger: Ledger, caller: str, limit: int, now: datetime) -> tuple[int, int]:
    """Take a part of what is left of this minute: how many, and how many are left then. (0, 0) when all are taken.

    What was taken counts as used, also if it never is: the limit is never exceeded, whoever is killed.
    """
    slot = slot_of("requests", now)
    with ledger.begin() as connection:
        used = _used(connection, caller, "requests", slot)
        taken = min(max(1, limit // LEASES), max(0, limit - used))
        if taken:
            _add(connection, caller, "requests", slot, taken)
        connection.execute(table.delete().where(table.c.slot < now - _KEPT))
    return taken, max(0, limit - used - taken)


def add_tokens(connection: sa.Connection, tokens: Mapping[str, int], now: datetime) -> None:
    """Caller → tokens, within a transaction of `Ledger.begin()`."""
    for caller, count in tokens.items():
        _add(connection, caller, "tokens", slot_of("tokens", now), count)


def tokens_used(ledger: Ledger, caller: str, now: datetime) -> int:
    """Of this day."""
    with ledger.read() as connection:
        return _used(connection, caller, "tokens", slot_of("tokens", now))


def _used(connection: sa.Connection, caller: str, what: What, slot: datetime) -> int:
    query = sa.select(table.c.used).where(table.c.caller == caller, table.c.what == what, table.c.slot == slot)
    return int(connection.execute(query).scalar() or 0)


def _add(connection: sa.Connection, caller: str, what: What, slot: datetime, count: int) -> None:
    here = (table.c.caller == caller) & (table.c.what == what) & (table.c.slot == slot)
    changed = connection.execute(table.update().where(here).values(used=table.c.used + count))
    if not changed.rowcount:
        connection.execute(table.insert().values(caller=caller, what=what, slot=slot, used=count))


ANSWERING = ("/v1/chat/completions", "/v1/completions")
"""Routes whose answers are a release's."""
_CUT_BY, _CUT = "gateway", "cut off old request lines up to"


@dataclass(frozen=True)
class RequestLine:
    """The columns of `request_lines`, but for the chain's own."""

    at: datetime
    who: str | None
    route: str
    status: int
    code: str | None
    release_id: str | None
    tokens_in: int | None
    tokens_out: int | None
    milliseconds: int
    prompt_hash: str | None
    identifiers: int | None
    requests: int = 1
    labels: str | None = None


_LATER = ("labels",)
_CHAIN = Chain(
    request_lines, tuple(name for name in RequestLine.__dataclass_fields__ if name not in ("at", *_LATER)), _LATER
)


def record_requests(
    ledger: Ledger, lines: Sequence[RequestLine], tokens: Mapping[str, int], now: datetime, *, is_synced: bool = True
) -> None:
    """All lines, and what callers with a budget used (caller → tokens), or nothing. `is_synced`: as `Ledger.begin` has it."""
    with ledger.begin(is_synced=is_synced) as connection:
        _CHAIN.append(connection, [vars(line) for line in lines], _start)
        add_tokens(connection, tokens, now)


def verify_requests(ledger: Ledger) -> ChainCheck:
    while True:
        with ledger.read() as connection:
            start = _start(connection)
        check = _CHAIN.verify(ledger, start)
        with ledger.read() as connection:
            if check.is_intact or _start(connection) == start:  # else lines were cut off meanwhile
                return check


def cut_requests(ledger: Ledger, before: datetime) -> int:
    """Remove the lines at the chain's beginning that are older; return how many."""
    columns = request_lines.c
    with ledger.begin() as connection:
        kept = connection.execute(sa.select(sa.func.min(columns.position)).where(columns.at >= before)).scalar()
        old = sa.select(columns.position, columns.line_hash).order_by(columns.position.desc()).limit(1)
        last = connection.execute(old if kept is None else old.where(columns.position < kept)).first()
        if last is None:
            return 0
        gone = connection.execute(request_lines.delete().where(columns.position <= last.position))
        audit.append(connection, _CUT_BY, _CUT, f"{last.position} {last.line_hash}")
        return int(gone.rowcount)


def answered_by_release(ledger: Ledger) -> dict[str, int]:
    """Release → whole answers that it gave users.

    A release is absent that was wanted before the oldest line that is kept: some of its answers may have been cut off.
    """
    columns = request_lines.c
    is_answer = columns.route.in_(ANSWERING) & (columns.status == 200) & columns.code.is_(None)
    query = sa.select(columns.release_id, sa.func.count()).where(is_answer, columns.release_id.is_not(None))
    with ledger.read() as connection:
        counted = {name: int(count) for name, count in connection.execute(query.group_by(columns.release_id))}
        if _start(connection) is None:  # nothing was ever cut off
            return counted
        oldest = connection.execute(sa.select(sa.func.min(columns.at))).scalar()
        older = sa.select(deployments.c.release_id).where(deployments.c.wanted_at < oldest)
        wanted_earlier = set(connection.execute(older).scalars())
    return {name: count for name, count in counted.items() if name not in wanted_earlier}


def _start(connection: sa.Connection) -> Start | None:
    about = audit.newest_about(connection, _CUT_BY, _CUT)
    if about is None:
        return None
    position, _, line_hash = about.partition(" ")
    return Start(int(position), line_hash)
