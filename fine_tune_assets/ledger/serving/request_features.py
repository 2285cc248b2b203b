"""What requests were like, added up in windows: counts. No text, no caller, no single request.

Owns adding to a window's row and reading windows that have ended. What is added is of enough requests already: see the gateway.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import request_features as table

KEPT_DAYS = 90


@dataclass(frozen=True)
class WindowRow:
    """The columns of `request_features`."""

    release_id: str
    reading: str
    window_end: datetime
    window_start: datetime
    """Of the first request in it: what was too little for a window of its own went into the next."""
    requests: int
    dropped: int
    counts: Mapping[str, Mapping[str, int]]
    refused: int
    looked_up: int
    found: int


_KEY = ("release_id", "reading", "window_end")
_ADDED = ("requests", "dropped", "refused", "looked_up", "found")


def add_window(ledger: Ledger, row: WindowRow) -> None:
    """Add to the window's row, or begin it. Rows of three months ago go."""
    here = sa.and_(*(table.c[name] == getattr(row, name) for name in _KEY))
    with ledger.begin() as connection:
        stored = connection.execute(sa.select(table).where(here)).mappings().first()
        if stored is None:
            connection.execute(table.insert().values(**_values(row)))
        else:
            connection.execute(table.update().where(here).values(**_values(_both(_row(stored), row))))
        connection.execute(table.delete().where(table.c.window_end < row.window_end - timedelta(days=KEPT_DAYS)))


def ended_windows(ledger: Ledger, release_id: str, reading: str, now: datetime) -> list[WindowRow]:
    """Oldest first."""
    wanted = (table.c.release_id == release_id) & (table.c.reading == reading) & (table.c.window_end <= now)
    with ledger.read() as connection:
        rows = connection.execute(sa.select(table).where(wanted).order_by(table.c.window_end)).mappings()
        return [_row(row) for row in rows]


def windows_fingerprint(ledger: Ledger, now: datetime) -> str | None:
    """Changes when a window ends; None before the first one did."""
    columns = (table.c.release_id, table.c.reading, table.c.window_end, table.c.requests)
    with ledger.read() as connection:
        query = sa.select(*columns).where(table.c.window_end <= now).order_by(table.c.sequence)
        rows = [
            f"{release} {reading} {end.timestamp():.0f} {n}" for release, reading, end, n in connection.execute(query)
        ]
    return combine(rows) if rows else None


def _both(one: WindowRow, other: WindowRow) -> WindowRow:
    summed = {name: getattr(one, name) + getattr(other, name) for name in _ADDED}
    counts = {
        name: _added(one.counts.get(name, {}), other.counts.get(name, {}))
        for name in sorted({*one.counts, *other.counts})
    }
    start = min(one.window_start, other.window_start)
    return replace(one, **summed, counts=counts, window_start=start)


def _added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}


def _values(row: WindowRow) -> dict[str, Any]:
    counts = json.dumps({name: dict(bins) for name, bins in row.counts.items()}, sort_keys=True, ensure_ascii=False)
    return {**vars(row), "counts": counts}


def _row(stored: Any) -> WindowRow:
    values = {name: stored[name] for name in WindowRow.__dataclass_fields__}
    return WindowRow(**{**values, "counts": json.loads(values["counts"])})
