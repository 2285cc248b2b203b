"""How many ratings show that a judge's agreement with people reaches the floor."""

from math import atanh, ceil, sqrt
from typing import Final

from fine_tune_assets.judging.judges.judge_qualification import MIN_RATINGS

PLANNED_AGREEMENT: Final = 0.6
"""Agreement for which ratings are planned before any were given: the shipped verifier's with clinicians is 0.61."""
PLANNED_CHANCE: Final = 0.8
MIN_TASK_RATINGS: Final = 5
"""Ratings of each task, so that none is left out of the pooled agreement."""
_Z: Final = 1.959964  # two-sided 95 %
_Z_OF_CHANCE: Final = {0.5: 0.0, PLANNED_CHANCE: 0.841621}


def needed_ratings(agreement: float, floor: float, chance: float = 0.5) -> int | None:
    """Rated answers for which the lower end of the 95 % interval reaches `floor` with this chance.

    `agreement`: the true rank correlation; None if it is not above the floor. By Fisher's z with the standard error of Bonett and
    Wright (2000), Psychometrika 65, 23-28.

    >>> needed_ratings(0.6, 0.3), needed_ratings(0.6, 0.3, 0.8), needed_ratings(0.3, 0.3)
    (34, 66, None)
    """
    limited, lowest = min(agreement, 0.999), max(floor, -0.999)
    if not limited > lowest:
        return None
    reach = (_Z + _Z_OF_CHANCE[chance]) * sqrt(1 + limited**2 / 2) / (atanh(limited) - atanh(lowest))
    return max(MIN_RATINGS, ceil(3 + reach**2))


def planned_agreement(floor: float) -> float:
    """The agreement for which ratings are planned: above a high floor, too.

    >>> planned_agreement(0.3), planned_agreement(0.7)
    (0.6, 0.9)
    """
    return max(PLANNED_AGREEMENT, min(0.95, round(floor + 0.2, 2)))


def describe_needed(floor: float) -> list[tuple[float, int | None, int | None]]:
    """For several true agreements: the ratings that reach the floor in half of the cases, and in 80 %."""
    return [
        (agreement, needed_ratings(agreement, floor), needed_ratings(agreement, floor, PLANNED_CHANCE))
        for agreement in (0.5, 0.6, 0.7, 0.8)
    ]
