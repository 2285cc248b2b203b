"""Measures of agreement: rank correlation, agreement beyond chance, and a monotone map from one scale to another.

The bootstrap resamples whole groups, because answers about the same text are not independent, and uses a fixed seed. The map is a
centred isotonic regression (Oron and Flournoy, Statistics in Biopharmaceutical Research 9, 2017): neighbours that people rated in
the opposite order are pooled, and the centres of the pools are joined by straight lines, so that different values stay different.
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
    """Rank correlation with averaged ties; NaN if one side is constant."""
    return _pearson(_ranks(first), _ranks(second))


def partial_spearman(first: Floats, second: Floats, given: Floats) -> float:
    """Rank correlation of two sides, controlling for a third.

    Kendall and Gibbons (1990), Rank Correlation Methods, chapter 8, on Spearman's ranks.
    """
    ab, ac, bc = spearman(first, second), spearman(first, given), spearman(second, given)
    remainder = (1 - ac**2) * (1 - bc**2)
    return (ab - ac * bc) / math.sqrt(remainder) if remainder > 0 else math.nan


def auroc(higher: Floats, lower: Floats) -> float:
    """Probability that a value of the first side exceeds one of the second, ties half; NaN if a side is empty or has NaN.

    >>> auroc(np.array([3.0, 2.0]), np.array([1.0, 2.0]))
    0.875
    """
    count, values = len(higher), np.concatenate([higher, lower])
    if not count or not len(lower) or np.isnan(values).any():
        return math.nan
    return float((_ranks(values)[:count].sum() - count * (count + 1) / 2) / (count * len(lower)))


def bootstrap_interval(statistic: Callable[[Rows], float], groups: Sequence[str]) -> Interval | None:
    """A statistic of the given rows with its 95 % percentile bootstrap interval; None if it is undefined.

    Resamples for which it is undefined are excluded.
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
    """Like scipy.stats.rankdata, whose import takes too long for a page of the desk."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place], dtype=float)


def _pearson(first: Floats, second: Floats) -> float:
    a, b = first - first.mean(), second - second.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size > 0 else math.nan


Knots = tuple[tuple[float, float], ...]
"""(raw value, human rating), both increasing. The map is linear between knots and constant beyond the ends."""


def fit_knots(raw: Sequence[float], human: Sequence[float]) -> Knots:
    """Fit the map. The order of the pairs does not matter.

    >>> fit_knots([1, 2, 3, 4], [0.0, 0.75, 0.25, 1.0])
    ((1.0, 0.0), (2.5, 0.5), (4.0, 1.0))
    """
    from scipy.optimize import isotonic_regression

    values, index, counts = np.unique(np.asarray(raw, float), return_inverse=True, return_counts=True)
    # Sorted, because a sum of floats depends on the order.
    order = np.lexsort((np.asarray(human, float), index))
    means = np.bincount(index[order], weights=np.asarray(human, float)[order]) / counts
    fitted = isotonic_regression(means, weights=counts)
    # Neighbours with equal ratings are pooled too; otherwise the line between them would be constant.
    starts = [0, *(np.flatnonzero(np.diff(fitted.x) > 0) + 1), len(means)]
    pools = pairwise(starts)
    return tuple(
        (float(np.average(values[start:end], weights=counts[start:end])), float(fitted.x[start]))
        for start, end in pools
    )


def pin_ends(knots: Knots, worst: tuple[float, float], best: tuple[float, float]) -> Knots:
    """The map between two ends that are known without ratings; knots outside them are dropped."""
    inner = [knot for knot in knots if worst[0] < knot[0] < best[0] and worst[1] < knot[1] < best[1]]
    return (worst, *inner, best)


def apply_knots(raw: Floats, knots: Knots) -> Floats:
    """Map raw values to the scale of the human ratings."""
    xs, ys = zip(*knots, strict=True)
    return np.interp(raw, xs, ys)
