"""Intervals by bootstrap, seeded, so that the same figures give the same interval."""

from collections.abc import Sequence
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
