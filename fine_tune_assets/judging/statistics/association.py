"""How well two sides agree: rank correlation, agreement beyond chance, and a monotone map from one scale to the other.

A bootstrap draws whole groups, since answers about the same text are not independent of each other, and is seeded: the same
figures give the same interval. The map is a centred isotonic regression (Oron and Flournoy, Statistics in Biopharmaceutical
Research 9, 2017): neighbours that people rated in the other order are pooled, and the middles of the pools are joined by straight
lines, so that figures which differ keep a difference.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.judging.statistics.paired_differences import LEVEL, SEED

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


Knots = tuple[tuple[float, float], ...]
"""(raw figure, human rating), both rising. Between them the map is straight, beyond the ends it is level."""


def fit_knots(raw: Sequence[float], human: Sequence[float]) -> Knots:
    """The map that fits best. The order of the pairs does not matter.

    >>> fit_knots([1, 2, 3, 4], [0.0, 0.75, 0.25, 1.0])
    ((1.0, 0.0), (2.5, 0.5), (4.0, 1.0))
    """
    from scipy.optimize import isotonic_regression

    values, index, counts = np.unique(np.asarray(raw, float), return_inverse=True, return_counts=True)
    # Sorted first: sums of the same numbers in another order differ in the last digit.
    order = np.lexsort((np.asarray(human, float), index))
    means = np.bincount(index[order], weights=np.asarray(human, float)[order]) / counts
    fitted = isotonic_regression(means, weights=counts)
    # Neighbours that people rated exactly alike are one pool too, or the line between them would be level.
    starts = [0, *(np.flatnonzero(np.diff(fitted.x) > 0) + 1), len(means)]
    pools = pairwise(starts)
    return tuple(
        (float(np.average(values[start:end], weights=counts[start:end])), float(fitted.x[start]))
        for start, end in pools
    )


def with_ends(knots: Knots, worst: tuple[float, float], best: tuple[float, float]) -> Knots:
    """The map between two ends that are known without anybody's rating; what lies outside of them is left out."""
    inner = [knot for knot in knots if worst[0] < knot[0] < best[0] and worst[1] < knot[1] < best[1]]
    return (worst, *inner, best)


def calibrated(raw: Floats, knots: Knots) -> Floats:
    """Each figure on people's scale."""
    xs, ys = zip(*knots, strict=True)
    return np.interp(raw, xs, ys)
