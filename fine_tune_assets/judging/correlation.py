"""How well two sides go together: rank correlation, agreement beyond chance, and their intervals.

Owns the formulas. A bootstrap draws whole groups, since answers about the same text are not independent of each other, and is
seeded: the same figures give the same interval.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.judging.comparisons import LEVEL, SEED

RESAMPLES = 1000
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    value: float
    low: float
    high: float


def spearman(first: Floats, second: Floats) -> float:
    """Rank correlation, ties averaged; NaN where one side is all alike."""
    return _pearson(_ranks(first), _ranks(second))


def partial_spearman(first: Floats, second: Floats, given: Floats) -> float:
    """Rank correlation of two sides with what both have in common with a third taken out.

    Kendall and Gibbons (1990), Rank Correlation Methods, chapter 8, on Spearman's ranks.
    """
    ab, ac, bc = spearman(first, second), spearman(first, given), spearman(second, given)
    left = (1 - ac**2) * (1 - bc**2)
    return (ab - ac * bc) / math.sqrt(left) if left > 0 else math.nan


def cohen_kappa(first: Sequence[int], second: Sequence[int]) -> float:
    """Agreement beyond chance (Cohen 1960); NaN where both always say the same one thing.

    >>> round(cohen_kappa([1] * 25 + [2] * 25, [1] * 20 + [2] * 5 + [1] * 10 + [2] * 15), 3)
    0.4
    """
    a, b = np.asarray(first), np.asarray(second)
    chance = sum(float((a == label).mean() * (b == label).mean()) for label in np.unique(a))
    return (float((a == b).mean()) - chance) / (1 - chance) if chance < 1 else math.nan


def grouped_interval(statistic: Callable[[Rows], float], groups: Sequence[str]) -> Interval | None:
    """A statistic of some rows with its 95 % percentile bootstrap interval; None where it is not defined.

    Resamples in which it is not defined are left out.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    value = statistic(np.arange(len(groups))) if len(groups) else math.nan
    if not math.isfinite(value):
        return None
    members = [np.flatnonzero(index == number) for number in range(len(names))]
    draws = np.random.default_rng(SEED).integers(0, len(names), size=(RESAMPLES, len(names)))
    drawn = np.array([statistic(np.concatenate([members[number] for number in draw])) for draw in draws])
    low, high = np.quantile(drawn[np.isfinite(drawn)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), float(low), float(high))


def _ranks(values: Floats) -> Floats:
    """As scipy's, whose import takes longer than a page of the desk may."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place], dtype=float)


def _pearson(first: Floats, second: Floats) -> float:
    a, b = first - first.mean(), second - second.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size > 0 else math.nan
