"""Intervals by bootstrap, seeded, so that the same figures give the same interval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 4000
SEED = 20260101
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    value: float
    low: float
    high: float


def mean_interval(values: Sequence[float], groups: Sequence[str]) -> Interval:
    """Mean with its 95 % percentile bootstrap interval, resampling whole groups (a patient's examples together)."""
    data = np.asarray(values, dtype=float)
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    sums, counts = np.bincount(index, weights=data), np.bincount(index)
    draws = np.random.default_rng(SEED).integers(0, len(names), size=(RESAMPLES, len(names)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(data.mean()), float(low), float(high))


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Rank correlation, ties averaged."""
    from scipy.stats import spearmanr

    return float(spearmanr(first, second).statistic)


def paired_interval(
    statistic: Callable[[Sequence[float], Sequence[float]], float],
    first: Sequence[float],
    second: Sequence[float],
    resamples: int = 1000,
) -> Interval:
    """A statistic of two paired samples with its 95 % percentile bootstrap interval."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    random = np.random.default_rng(SEED)
    drawn = [random.integers(0, len(a), size=len(a)) for _ in range(resamples)]
    values = np.array([statistic(a[i].tolist(), b[i].tolist()) for i in drawn])
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(statistic(first, second), float(low), float(high))
