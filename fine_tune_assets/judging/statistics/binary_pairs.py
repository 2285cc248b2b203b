"""Right or wrong, twice: how much more often is the candidate wrong than what it is compared with?

Owns intervals and tests of paired yes-or-no figures: the score interval and test of Tango (Statistics in Medicine 17, 1998,
891-908), which stay honest where nothing differs (no loss in 6 questions is no proof), and the exact test of McNemar. Does
not know what the questions are.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np

from fine_tune_assets.judging.statistics.paired_differences import ALPHA


@dataclass(frozen=True)
class BinaryPairs:
    items: float
    worse: float
    """Items on which only the incumbent is right."""
    better: float
    """Items on which only the candidate is right."""

    @property
    def difference(self) -> float:
        """Share right of the candidate less that of the incumbent."""
        return (self.better - self.worse) / self.items


def most_discordant(items: int, incumbent_right: int, candidate_right: int) -> BinaryPairs:
    """Where only the totals are known: the pairs that differ most often. Nothing looks surer than it can be."""
    better = min(items - incumbent_right, candidate_right)
    return BinaryPairs(items, better + incumbent_right - candidate_right, better)


def patient_pairs(candidate: Sequence[bool], incumbent: Sequence[bool], patients: Sequence[str]) -> BinaryPairs:
    """Pairs of several patients, shrunk to the number of independent ones that tell as much (Rao and Scott 1992)."""
    changes = [float(new) - float(old) for new, old in zip(candidate, incumbent, strict=True)]
    effect = max(1.0, _design_effect(changes, patients))
    worse, better = changes.count(-1.0), changes.count(1.0)
    return BinaryPairs(len(changes) / effect, worse / effect, better / effect)


def _design_effect(changes: Sequence[float], patients: Sequence[str]) -> float:
    """Variance of the mean between patients over that of as many independent items; 1 where nothing varies."""
    mean, within = float(np.mean(changes)), float(np.var(changes))
    sums: dict[str, float] = defaultdict(float)
    for patient, change in sorted(zip(patients, changes, strict=True)):
        sums[patient] += change - mean
    if within == 0 or len(sums) < 2:
        return 1.0
    items, groups = len(changes), len(sums)
    between = groups / (groups - 1) * sum(value**2 for value in sums.values())
    return between / (items / (items - 1) * within * items)


def score(pairs: BinaryPairs, difference: float) -> float:
    """Tango's statistic for the hypothesis that the true difference is `difference`; standard normal where it is true."""
    n, better, worse = pairs.items, pairs.better, pairs.worse
    a, b = 2 * n, -better - worse + (2 * n - better + worse) * difference
    c = -worse * difference * (1 - difference)
    only_incumbent = (sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = n * (2 * only_incumbent + difference * (1 - difference))
    above = better - worse - n * difference
    if variance <= 0:
        return 0.0 if above == 0 else float("inf") if above > 0 else float("-inf")
    return above / sqrt(variance)


def interval(pairs: BinaryPairs) -> tuple[float, float]:
    """The 95 % score interval of the difference."""
    from scipy.stats import norm

    z = float(norm.isf(ALPHA))
    return _crossing(pairs, z), _crossing(pairs, -z)


def _crossing(pairs: BinaryPairs, z: float) -> float:
    """The difference at which the statistic, which falls with it, is `z`."""
    from scipy.optimize import brentq

    end = 1 - 1e-9
    if score(pairs, -end) <= z:
        return -1.0
    if score(pairs, end) >= z:
        return 1.0
    return float(brentq(lambda difference: score(pairs, difference) - z, -end, end, xtol=1e-10))


def p_loss_within(pairs: BinaryPairs, margin: float) -> float:
    """How likely such pairs are where no more than `margin` is lost: small when more than that is lost, and surely some.

    The larger of Tango's p and McNemar's exact one: a loss beyond a margin is first of all a loss.
    """
    from scipy.stats import norm

    value = score(pairs, -margin)
    return max(float(norm.cdf(value)) if isfinite(value) else float(value > 0), mcnemar(pairs))


def mcnemar(pairs: BinaryPairs) -> float:
    """McNemar's exact test, one-sided: how likely are so many losses among the pairs that differ where none is lost?

    With shrunk pairs the counts are rounded, losses down.
    """
    from scipy.stats import binomtest

    worse, better = int(pairs.worse + 1e-9), int(np.ceil(pairs.better - 1e-9))
    return float(binomtest(worse, worse + better, 0.5, alternative="greater").pvalue) if worse + better else 1.0
