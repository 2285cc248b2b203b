"""Counts how requests of each deployment ended: answered or failed, duration, and identifiers found in answers."""

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import deployment_outcomes as table

DURATION_BUCKETS_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0)
"""Upper bounds of the duration buckets; a last bucket counts longer ones."""
SLOT_SECONDS = 10
RETENTION_DAYS = 7


@dataclass(frozen=True)
class RequestOutcomes:
    answered: int = 0
    failed: int = 0
    durations: tuple[int, ...] = (0,) * (len(DURATION_BUCKETS_SECONDS) + 1)
    """Histogram of answer durations, from the request to the last byte."""
    identifier_count: int | None = None
    """None if answers were not scanned, which differs from 0."""

    @property
    def requests(self) -> int:
        return self.answered + self.failed

    def __add__(self, other: "RequestOutcomes") -> "RequestOutcomes":
        found = [count for count in (self.identifier_count, other.identifier_count) if count is not None]
        return RequestOutcomes(
            self.answered + other.answered,
            self.failed + other.failed,
            tuple(a + b for a, b in zip(self.durations, other.durations, strict=True)),
            sum(found) if found else None,
        )


def make_answered_outcome(seconds: float, identifiers: int | None = None) -> RequestOutcomes:
    bucket = bisect_left(DURATION_BUCKETS_SECONDS, seconds)
    return RequestOutcomes(1, 0, tuple(int(i == bucket) for i in range(len(DURATION_BUCKETS_SECONDS) + 1)), identifiers)


FAILED = RequestOutcomes(failed=1)


def percentile_lower_bound(durations: Sequence[int], fraction: float) -> float | None:
    """Lower bound in seconds of the bucket that contains the percentile. None without answers."""
    total, below = sum(durations), 0
    if not total:
        return None
    for bucket, count in enumerate(durations):
        below += count
        if below >= fraction * total:
            return 0.0 if bucket == 0 else DURATION_BUCKETS_SECONDS[bucket - 1]
    return DURATION_BUCKETS_SECONDS[-1]


def add_outcomes(ledger: Ledger, counted: Mapping[str, RequestOutcomes], now: datetime) -> None:
    """Add counts by deployment to the current slot; a new slot deletes counts older than RETENTION_DAYS."""
    slot = datetime.fromtimestamp(now.timestamp() // SLOT_SECONDS * SLOT_SECONDS, UTC)
    is_new = False
    with ledger.begin() as connection:
        for deployment_id, counts in counted.items():
            is_slot = (table.c.deployment_id == deployment_id) & (table.c.slot == slot)
            row = connection.execute(sa.select(table).where(is_slot)).mappings().first()
            if row is None:
                is_new = True
                values = _values(counts) | {"deployment_id": deployment_id, "slot": slot}
                connection.execute(table.insert().values(**values))
            else:
                connection.execute(table.update().where(is_slot).values(**_values(_outcomes(row) + counts)))
        if is_new:
            connection.execute(table.delete().where(table.c.slot < now - timedelta(days=RETENTION_DAYS)))


def sum_outcomes_since(ledger: Ledger, deployment_id: str, since: datetime) -> RequestOutcomes:
    """Outcomes since that time, including the rest of its ten-second slot."""
    recent = (table.c.deployment_id == deployment_id) & (table.c.slot > since - timedelta(seconds=SLOT_SECONDS))
    with ledger.read() as connection:
        rows = connection.execute(sa.select(table).where(recent)).mappings().all()
    return sum((_outcomes(row) for row in rows), RequestOutcomes())


def _values(counts: RequestOutcomes) -> dict[str, Any]:
    return {**vars(counts), "durations": json.dumps(counts.durations)}


def _outcomes(row: Any) -> RequestOutcomes:
    return RequestOutcomes(row["answered"], row["failed"], tuple(json.loads(row["durations"])), row["identifier_count"])
