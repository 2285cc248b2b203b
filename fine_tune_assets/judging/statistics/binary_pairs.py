"""Intervals and tests of paired pass-or-fail items.

The score interval and test of Tango (Statistics in Medicine 17, 1998, 891-908) stay valid if no pair differs (no loss in 6
questions proves nothing). McNemar's test is the exact one.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np

from fine_tune_assets.recipes.error_levels import ALPHA


@dataclass(frozen=True)
class BinaryPairs:
    items: float
    worse: float
    """Items that only the incumbent passes."""
    better: float
    """Items that only the candidate passes."""

    @property
    def difference(self) -> float:
        """Share passed by the candidate minus share passed by the incumbent."""
        return (self.better - self.worse) / self.items


def effective_pairs(candidate: Sequence[bool], incumbent: Sequence[bool], subjects: Sequence[str]) -> BinaryPairs:
    """Pairs clustered by subject, shrunk to the effective number of independent pairs (Rao and Scott 1992)."""
    changes = [float(new) - float(old) for new, old in zip(candidate, incumbent, strict=True)]
    effect = max(1.0, _design_effect(changes, subjects))
    worse, better = changes.count(-1.0), changes.count(1.0)
    return BinaryPairs(len(changes) / effect, worse / effect, better / effect)


def _design_effect(changes: Sequence[float], subjects: Sequence[str]) -> float:
    """Ratio of the variances of the mean, clustered by subject and for independent items; 1 if nothing varies."""
    mean, within = float(np.mean(changes)), float(np.var(changes))
    sums: dict[str, float] = defaultdict(float)
    for subject, change in sorted(zip(subjects, changes, strict=True)):
        sums[subject] += change - mean
    if within == 0 or len(sums) < 2:
        return 1.0
    items, groups = len(changes), len(sums)
    between = groups / (groups - 1) * sum(value**2 for value in sums.values())
    return between / (items / (items - 1) * within * items)


def tango_statistic(pairs: BinaryPairs, difference: float) -> float:
    """Tango's statistic for the hypothesis that the true difference is `difference`; standard normal under it."""
    n, better, worse = pairs.items, pairs.better, pairs.worse
    a, b = 2 * n, -better - worse + (2 * n - better + worse) * difference
    c = -worse * difference * (1 - difference)
    only_incumbent = (sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = n * (2 * only_incumbent + difference * (1 - difference))
    above = better - worse - n * difference
    if variance <= 0:
        return 0.0 if above == 0 else float("inf") if above > 0 else float("-inf")
    return above / sqrt(variance)


def score_interval(pairs: BinaryPairs) -> tuple[float, float]:
    """The 95 % score interval of the difference."""
    from scipy.stats import norm

    z = float(norm.isf(ALPHA))
    return _solve_difference(pairs, z), _solve_difference(pairs, -z)


def _solve_difference(pairs: BinaryPairs, z: float) -> float:
    """The difference at which the statistic, which decreases in it, equals `z`."""
    from scipy.optimize import brentq

    end = 1 - 1e-9
    if tango_statistic(pairs, -end) <= z:
        return -1.0
    if tango_statistic(pairs, end) >= z:
        return 1.0
    return float(brentq(lambda difference: tango_statistic(pairs, difference) - z, -end, end, xtol=1e-10))


def p_value_of_loss(pairs: BinaryPairs, margin: float) -> float:
    """p-value of the hypothesis that at most `margin` is lost.

    The larger of Tango's and McNemar's p-value, because a loss beyond a margin must be a loss first.
    """
    from scipy.stats import norm

    value = tango_statistic(pairs, -margin)
    return max(float(norm.cdf(value)) if isfinite(value) else float(value > 0), p_value_of_mcnemar(pairs))


def p_value_of_mcnemar(pairs: BinaryPairs) -> float:
    """McNemar's exact test, one-sided, of the hypothesis that nothing is lost.

    Fractional counts of shrunk pairs are rounded: losses down, gains up.
    """
    from scipy.stats import binomtest

    worse, better = int(pairs.worse + 1e-9), int(np.ceil(pairs.better - 1e-9))
    return float(binomtest(worse, worse + better, 0.5, alternative="greater").pvalue) if worse + better else 1.0
