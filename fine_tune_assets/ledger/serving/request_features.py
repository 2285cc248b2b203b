"""Stores features of requests as counts per time window. No text, no caller, no single request.

The gateway adds only windows with enough requests.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import request_features as table

RETENTION_DAYS = 90


@dataclass(frozen=True)
class WindowRow:
    """The columns of `request_features`."""

    release_id: str
    extractor_fingerprint: str
    window_end: datetime
    window_start: datetime
    """Time of the first request: a window with too few requests is merged into the next one."""
    requests: int
    unread: int
    counts: Mapping[str, Mapping[str, int]]
    refused: int
    lookups: int
    lookup_hits: int


_KEY = ("release_id", "extractor_fingerprint", "window_end")
_SUMMED_COLUMNS = ("requests", "unread", "refused", "lookups", "lookup_hits")


def add_window(ledger: Ledger, row: WindowRow) -> None:
    """Add to the window's row or create it, and delete rows older than RETENTION_DAYS."""
    is_window = sa.and_(*(table.c[name] == getattr(row, name) for name in _KEY))
    with ledger.begin() as connection:
        stored = connection.execute(sa.select(table).where(is_window)).mappings().first()
        if stored is None:
            connection.execute(table.insert().values(**_values(row)))
        else:
            connection.execute(table.update().where(is_window).values(**_values(_merge_rows(_row(stored), row))))
        connection.execute(table.delete().where(table.c.window_end < row.window_end - timedelta(days=RETENTION_DAYS)))


def list_ended_windows(ledger: Ledger, release_id: str, extractor_fingerprint: str, now: datetime) -> list[WindowRow]:
    """Ended windows, oldest first."""
    wanted = (
        (table.c.release_id == release_id)
        & (table.c.extractor_fingerprint == extractor_fingerprint)
        & (table.c.window_end <= now)
    )
    with ledger.read() as connection:
        rows = connection.execute(sa.select(table).where(wanted).order_by(table.c.window_end)).mappings()
        return [_row(row) for row in rows]


def windows_fingerprint(ledger: Ledger, now: datetime) -> str | None:
    """Changes when a window ends; None before the first one."""
    columns = (table.c.release_id, table.c.extractor_fingerprint, table.c.window_end, table.c.requests)
    with ledger.read() as connection:
        query = sa.select(*columns).where(table.c.window_end <= now).order_by(table.c.sequence)
        rows = [
            f"{release} {extractor} {end.timestamp():.0f} {n}"
            for release, extractor, end, n in connection.execute(query)
        ]
    return combine(rows) if rows else None


def _merge_rows(one: WindowRow, other: WindowRow) -> WindowRow:
    summed = {name: getattr(one, name) + getattr(other, name) for name in _SUMMED_COLUMNS}
    counts = {
        name: _sum_bins(one.counts.get(name, {}), other.counts.get(name, {}))
        for name in sorted({*one.counts, *other.counts})
    }
    start = min(one.window_start, other.window_start)
    return replace(one, **summed, counts=counts, window_start=start)


def _sum_bins(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}


def _values(row: WindowRow) -> dict[str, Any]:
    counts = json.dumps({name: dict(bins) for name, bins in row.counts.items()}, sort_keys=True, ensure_ascii=False)
    return {**vars(row), "counts": counts}


def _row(stored: Any) -> WindowRow:
    values = {name: stored[name] for name in WindowRow.__dataclass_fields__}
    return WindowRow(**{**values, "counts": json.loads(values["counts"])})
