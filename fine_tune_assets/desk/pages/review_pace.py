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
MAX_DECISIONS = 50
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
    times = sorted(decided_at)
    intervals = [after - before for before, after in pairwise(times)]
    # Decisions in one step, such as on identical cases, are not a pace.
    paced = [interval.total_seconds() for interval in intervals if timedelta(0) < interval <= SITTING_BREAK]
    position = _count_in_sitting(times, now) + 1
    seconds = median(paced) * remaining if len(paced) >= MINIMUM_INTERVALS else None
    minutes = None if seconds is None else max(1, ceil(seconds / 60))
    return Progress(position, position - 1 + max(1, remaining), minutes)


def _count_in_sitting(times: Sequence[datetime], now: datetime) -> int:
    """How many of the newest times follow each other without a break up to now."""
    count, last = 0, now
    for time in reversed(times):
        if last - time > SITTING_BREAK:
            break
        count, last = count + 1, time
    return count
