"""What callers of the gateway used: requests of a minute, tokens of a day. Shared by all its processes.

Owns the counters. Minutes and days are of UTC; what is older than two days goes.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import caller_usage as table

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
