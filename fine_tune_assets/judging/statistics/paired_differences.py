"""Intervals and p-values of a mean paired difference of grades, resampled by subject, and Holm's adjustment.

Each draw includes or excludes every subject with even odds, and the interval consists of quantiles of the means of the drawn
subjects (Hartigan 1969, "typical values"). It inverts the sign-flip test: the interval contains the gains that this test does not
reject. docs/decisions/0015-verdicts.md compares it with three other bootstraps: it keeps its level with few subjects, and a
candidate that gets worse anywhere never looks better, which a studentized interval does not guarantee.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fine_tune_assets.recipes.error_levels import ALPHA, DRAWS, GAIN_DRAWS, tail_level

SEED = 20260101
LEVEL = 0.95
_BLOCK_DRAWS = 1000


@dataclass(frozen=True, eq=False)
class SubjectMeans:
    """The mean of paired differences, and the mean of each draw of subjects."""

    value: float
    standard_error: float
    """Of the mean, clustered by subject; NaN for a single subject."""
    standard_deviation: float
    """Of the differences, ignoring subjects; NaN for a single difference."""
    examples: int
    subjects: int
    draw_means: np.ndarray
    """Sorted. Draws without a subject are excluded and count against every claim."""

    @property
    def empty_draws(self) -> int:
        return DRAWS - len(self.draw_means)

    @property
    def low(self) -> float | None:
        """Lower end of the 95 % interval; None with fewer than seven subjects."""
        ends = interval_ends(self.draw_means, self.subjects)
        return None if ends is None else float(ends[0])

    @property
    def high(self) -> float | None:
        ends = interval_ends(self.draw_means, self.subjects)
        return None if ends is None else float(ends[1])

    def p_value_above(self, bound: float) -> float:
        """p-value of the hypothesis that the true mean is at most `bound`. It is at most 0.025 exactly if `low` > `bound`."""
        return self._p_value(self.empty_draws + int(np.searchsorted(self.draw_means, bound, side="right")))

    def p_value_below(self, bound: float) -> float:
        """p-value of the hypothesis that the true mean is at least `bound`."""
        return self._p_value(DRAWS - int(np.searchsorted(self.draw_means, bound, side="left")))

    def _p_value(self, draws: int) -> float:
        return min(1.0, p_value_of_draws(draws, self.subjects))


def p_value_of_draws(draws: Any, subjects: int) -> Any:
    """The p-value if `draws` draws contradict the claim. It is at most ALPHA exactly if the bound lies outside the interval."""
    return ALPHA / tail_level(subjects) * (1 + draws) / (DRAWS + 1)


def interval_ends(drawn: np.ndarray, subjects: int) -> tuple[Any, Any] | None:
    """Lower and upper end of each comparison. `drawn` is sorted, one row per draw. None with too few subjects."""
    empty, tail = DRAWS - len(drawn), round(tail_level(subjects) * (DRAWS + 1))
    return None if empty >= tail else (drawn[tail - 1 - empty], drawn[len(drawn) - tail + empty])


def compare_means(differences: Sequence[float], subjects: Sequence[str]) -> SubjectMeans:
    """Compare; the result does not depend on the order of the examples. Raises ValueError without differences."""
    if not differences:
        raise ValueError("no differences to compare")
    sums, counts = _sum_by_subject(differences, subjects)
    values = np.array(sorted(differences), dtype=float)
    mean = float(sums.sum() / counts.sum())
    return SubjectMeans(
        value=mean,
        standard_error=_standard_error(sums, counts, mean),
        standard_deviation=float(values.std(ddof=1)) if len(values) > 1 else float("nan"),
        examples=len(values),
        subjects=len(sums),
        draw_means=np.sort(resample_means(sums[:, None], counts)[:, 0]),
    )


def tail_above(differences: Sequence[float], subjects: Sequence[str], bound: float) -> float:
    """Share of draws whose mean is at most `bound`: the uncorrected p-value of the hypothesis that the true mean is."""
    sums, counts = _sum_by_subject(differences, subjects)
    above, random, at_most = sums - bound * counts, np.random.default_rng(SEED), 0
    for start in range(0, GAIN_DRAWS, _BLOCK_DRAWS):
        size = (min(_BLOCK_DRAWS, GAIN_DRAWS - start), len(counts))
        # A draw without a subject sums to 0 and counts as at most `bound`.
        drawn = random.integers(0, 2, size=size, dtype=np.uint8).astype(float)
        at_most += int(np.count_nonzero(drawn @ above <= 0))
    return float((1 + at_most) / (GAIN_DRAWS + 1))


def _sum_by_subject(differences: Sequence[float], subjects: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of each subject's differences, sorted, because a sum of floats depends on the order."""
    pairs = sorted(zip(subjects, differences, strict=True))
    values = np.array([value for _, value in pairs], dtype=float)
    _, index = np.unique(np.array([subject for subject, _ in pairs]), return_inverse=True)
    return np.bincount(index, weights=values), np.bincount(index).astype(float)


def resample_means(sums: np.ndarray, counts: np.ndarray, draws: int = DRAWS) -> np.ndarray:
    """Means of the drawn subjects, one row per draw that has any. `sums`: (subjects, comparisons); `counts`: (subjects,)."""
    random, blocks = np.random.default_rng(SEED), []
    for start in range(0, draws, _BLOCK_DRAWS):
        size = (min(_BLOCK_DRAWS, draws - start), len(counts))
        drawn = random.integers(0, 2, size=size, dtype=np.uint8).astype(float)
        drawn = drawn[drawn.any(axis=1)]
        blocks.append((drawn @ sums) / (drawn @ counts)[:, None])
    return np.concatenate(blocks)


def _standard_error(sums: np.ndarray, counts: np.ndarray, mean: float) -> float:
    """Standard error of a ratio of sums over subjects (Cochran, Sampling Techniques, 1977, 6.4)."""
    subjects = len(sums)
    if subjects < 2:
        return float("nan")
    return float(np.sqrt(subjects / (subjects - 1) * np.sum((sums - mean * counts) ** 2)) / counts.sum())


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, in the given order; it controls the family-wise error rate."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = largest
    return adjusted
