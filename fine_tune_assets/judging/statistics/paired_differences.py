"""How much better is the candidate, and can it be chance? Paired differences of grades, each patient kept whole.

Owns the interval and the p-values of a mean difference, and Holm's adjustment of several p-values. Does not know what is
compared, nor what follows.

Patients are resampled whole: each draw takes or leaves every patient at even odds, and the interval is made of quantiles of
the drawn patients' means (Hartigan 1969, "typical values"). It is the sign-flip test turned round: the ends are just the
gains that this test would reject. Compared with three other bootstraps in docs/decisions/0032: it keeps its level with few
patients, and a candidate that gets worse anywhere never looks better, which a studentised interval can't promise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

DRAWS = 9999
SEED = 20260101
LEVEL = 0.95
ALPHA = 0.025
"""One-sided: what lies outside of an interval of 95 % at one end."""
FEW_PATIENTS = 60
"""Fewer have to be twice as sure: where differences are skewed (many small gains, few large losses), too many candidates
without any gain would be promoted (docs/decisions/0032-the-verdict.md has the figures)."""
_BLOCK = 1000


@dataclass(frozen=True, eq=False)
class PatientMeans:
    """The mean of paired differences, and the means of the patients that each draw took."""

    value: float
    standard_error: float
    """Of the mean, between patients; NaN for a single one."""
    spread: float
    """Standard deviation of one difference, whoever's it is; NaN for a single one."""
    examples: int
    patients: int
    drawn: np.ndarray
    """Sorted; draws that took nobody are not in it, and count against every claim."""

    @property
    def empty(self) -> int:
        return DRAWS - len(self.drawn)

    @property
    def low(self) -> float | None:
        """Lower end of the 95 % interval; None where there are too few patients for one (fewer than seven)."""
        ends = interval_ends(self.drawn, self.patients)
        return None if ends is None else float(ends[0])

    @property
    def high(self) -> float | None:
        ends = interval_ends(self.drawn, self.patients)
        return None if ends is None else float(ends[1])

    def p_not_above(self, bound: float) -> float:
        """How likely such differences are where the true mean is `bound` or less. At most .025 just when `low` > `bound`."""
        return self._p(self.empty + int(np.searchsorted(self.drawn, bound, side="right")))

    def p_not_below(self, bound: float) -> float:
        """How likely such differences are where the true mean is `bound` or more."""
        return self._p(DRAWS - int(np.searchsorted(self.drawn, bound, side="left")))

    def _p(self, draws: int) -> float:
        return min(1.0, p_of_draws(draws, self.patients))


def level_of(patients: float) -> float:
    """What lies outside of the interval at one end: with few patients half as much."""
    return ALPHA / 2 if patients < FEW_PATIENTS else ALPHA


def p_of_draws(draws: Any, patients: int) -> Any:
    """The p-value where so many draws speak for chance: at most ALPHA just where fewer than lie outside of the interval do."""
    return ALPHA / level_of(patients) * (1 + draws) / (DRAWS + 1)


def interval_ends(drawn: np.ndarray, patients: int) -> tuple[Any, Any] | None:
    """Lower and upper end, of each comparison; `drawn` is sorted, a draw a row. None where there are too few patients."""
    empty, tail = DRAWS - len(drawn), round(level_of(patients) * (DRAWS + 1))
    return None if empty >= tail else (drawn[tail - 1 - empty], drawn[len(drawn) - tail + empty])


def compare_means(differences: Sequence[float], patients: Sequence[str]) -> PatientMeans:
    """The comparison; the order of the examples changes no bit of it. Raises ValueError without any difference."""
    if not differences:
        raise ValueError("There is nothing to compare.")
    # Sorted, so that sums of floats do not depend on the order of the table.
    pairs = sorted(zip(patients, differences, strict=True))
    values = np.array([value for _, value in pairs], dtype=float)
    _, index = np.unique(np.array([patient for patient, _ in pairs]), return_inverse=True)
    sums, counts = np.bincount(index, weights=values), np.bincount(index).astype(float)
    mean = float(sums.sum() / counts.sum())
    return PatientMeans(
        value=mean,
        standard_error=_standard_error(sums, counts, mean),
        spread=float(values.std(ddof=1)) if len(values) > 1 else float("nan"),
        examples=len(values),
        patients=len(sums),
        drawn=np.sort(drawn_means(sums[:, None], counts)[:, 0]),
    )


def drawn_means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means of the drawn patients, a row a draw that took anybody. `sums`: a patient a row, a comparison a column."""
    random, blocks = np.random.default_rng(SEED), []
    for start in range(0, DRAWS, _BLOCK):
        size = (min(_BLOCK, DRAWS - start), len(counts))
        taken = random.integers(0, 2, size=size, dtype=np.uint8).astype(float)
        taken = taken[taken.any(axis=1)]
        blocks.append((taken @ sums) / (taken @ counts)[:, None])
    return np.concatenate(blocks)


def _standard_error(sums: np.ndarray, counts: np.ndarray, mean: float) -> float:
    """Of a ratio of sums over patients (Cochran, Sampling Techniques, 1977, 6.4)."""
    patients = len(sums)
    if patients < 2:
        return float("nan")
    return float(np.sqrt(patients / (patients - 1) * np.sum((sums - mean * counts) ** 2)) / counts.sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, in the order given: the chance of any false finding among them stays below the level."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = largest
    return adjusted
