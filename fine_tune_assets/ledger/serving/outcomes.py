"""How requests ended, counted for each deployment: answered or failed, how long, and what was found in answers.

Owns adding counts and summing them up. Nothing of what was asked or answered is here.
"""

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import deployment_outcomes as table

STEPS_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0)
"""Durations are counted up to each of these, and above the last."""
SLOT_SECONDS = 10
KEPT_DAYS = 7


@dataclass(frozen=True)
class Outcomes:
    answered: int = 0
    failed: int = 0
    durations: tuple[int, ...] = (0,) * (len(STEPS_SECONDS) + 1)
    """Of answers, from the request to the last byte."""
    identifiers: int | None = None
    """None where nobody looked for them: that is not 0."""

    @property
    def requests(self) -> int:
        return self.answered + self.failed

    def __add__(self, other: "Outcomes") -> "Outcomes":
        found = [count for count in (self.identifiers, other.identifiers) if count is not None]
        return Outcomes(
            self.answered + other.answered,
            self.failed + other.failed,
            tuple(a + b for a, b in zip(self.durations, other.durations, strict=True)),
            sum(found) if found else None,
        )


def answered_after(seconds: float, identifiers: int | None = None) -> Outcomes:
    """One answer."""
    place = bisect_left(STEPS_SECONDS, seconds)
    return Outcomes(1, 0, tuple(int(i == place) for i in range(len(STEPS_SECONDS) + 1)), identifiers)


FAILED = Outcomes(failed=1)


def percentile_at_least(durations: Sequence[int], fraction: float) -> float | None:
    """Seconds that the percentile has at least: the lower end of the step that it falls into. None without answers."""
    total, below = sum(durations), 0
    if not total:
        return None
    for place, count in enumerate(durations):
        below += count
        if below >= fraction * total:
            return 0.0 if place == 0 else STEPS_SECONDS[place - 1]
    return STEPS_SECONDS[-1]


def add_outcomes(ledger: Ledger, counted: Mapping[str, Outcomes], now: datetime) -> None:
    """Add what was counted since the last time, deployment → counts. What is older than a week goes when a new slot begins."""
    slot = datetime.fromtimestamp(now.timestamp() // SLOT_SECONDS * SLOT_SECONDS, UTC)
    is_new = False
    with ledger.begin() as connection:
        for deployment_id, counts in counted.items():
            here = (table.c.deployment_id == deployment_id) & (table.c.slot == slot)
            row = connection.execute(sa.select(table).where(here)).mappings().first()
            if row is None:
                is_new = True
                values = _values(counts) | {"deployment_id": deployment_id, "slot": slot}
                connection.execute(table.insert().values(**values))
            else:
                connection.execute(table.update().where(here).values(**_values(_outcomes(row) + counts)))
        if is_new:
            connection.execute(table.delete().where(table.c.slot < now - timedelta(days=KEPT_DAYS)))


def outcomes_since(ledger: Ledger, deployment_id: str, since: datetime) -> Outcomes:
    """The sum of what ended since then, and of what ended in the same ten seconds."""
    recent = (table.c.deployment_id == deployment_id) & (table.c.slot > since - timedelta(seconds=SLOT_SECONDS))
    with ledger.read() as connection:
        rows = connection.execute(sa.select(table).where(recent)).mappings().all()
    return sum((_outcomes(row) for row in rows), Outcomes())


def _values(counts: Outcomes) -> dict[str, Any]:
    return {**vars(counts), "durations": json.dumps(counts.durations)}


def _outcomes(row: Any) -> Outcomes:
    return Outcomes(row["answered"], row["failed"], tuple(json.loads(row["durations"])), row["identifiers"])
