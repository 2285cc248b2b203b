"""How far a reviewer has got in their sitting, and about how long the rest takes at their own pace."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil
from statistics import median

SITTING_BREAK = timedelta(minutes=15)
"""A longer time between two decisions begins a new sitting."""
MINIMUM_INTERVALS = 5
"""Minimum number of intervals between decisions; below it, no time is estimated."""
MAX_DECISIONS = 500
"""Number of newest decisions to read: more than one sitting has."""
_PACE_DECISIONS = 50
"""Number of newest decisions to measure the pace with."""


@dataclass(frozen=True)
class Progress:
    position: int
    """Number of the open item in the sitting, from 1."""
    total: int
    minutes_left: int | None
    """None with too few decisions to estimate it."""


def measure_progress(decided_at: Sequence[datetime], remaining: int, now: datetime) -> Progress:
    """`decided_at`: times of the reviewer's newest decisions. `remaining`: open items, including the one on the page.

    >>> noon = datetime(2026, 1, 1, 12)
    >>> measure_progress([noon - timedelta(minutes=minute) for minute in range(6)], 4, noon)
    Progress(position=7, total=10, minutes_left=4)
    """
    position = _count_in_sitting(sorted(decided_at), now) + 1
    return Progress(position, position - 1 + max(1, remaining), estimate_minutes(decided_at, remaining))


def estimate_minutes(decided_at: Sequence[datetime], items: int) -> int | None:
    """Minutes for a number of items at the median pace; None with too few decisions."""
    # Decisions in one step, such as on identical cases, are not a pace.
    times = sorted(set(decided_at))[-_PACE_DECISIONS:]
    intervals = [after - before for before, after in pairwise(times)]
    paced = [interval.total_seconds() for interval in intervals if interval <= SITTING_BREAK]
    return max(1, ceil(median(paced) * items / 60)) if len(paced) >= MINIMUM_INTERVALS else None


def _count_in_sitting(times: Sequence[datetime], now: datetime) -> int:
    """How many of the newest times follow each other without a break up to now."""
    count, last = 0, now
    for time in reversed(times):
        if last - time > SITTING_BREAK:
            break
        count, last = count + 1, time
    return count
