"""How many examples would be enough? From the spread that was observed, patients included.

Owns the number of examples that finds a stated gain four times in five, and the smallest gain that the present number
finds as often. Does not know what is compared.
"""

from bisect import bisect_left
from dataclasses import dataclass
from math import ceil, isfinite, sqrt

from fine_tune_assets.judging.statistics.binary_pairs import BinaryPairs, interval
from fine_tune_assets.judging.statistics.paired_differences import ALPHA, PatientMeans, level_of

CHANCE = 0.8
"""Of finding what is there, at least, with the number of examples that is called enough."""
MOST = 1_000_000
_PLANNED = 0.87
"""What the number is reckoned with, so that skewed differences, which find less, are found as often as promised."""
_FEWEST_PATIENTS = 7
"""Fewer patients give no interval (see paired_differences.py)."""


@dataclass(frozen=True)
class Power:
    """What the verdict says of its own sight."""

    examples: int
    patients: int
    needed: int | None
    """Examples that would find `gain` four times in five; None where the spread is not known, or no number would do."""
    detectable: float | None
    """The smallest gain over the incumbent that the present examples find as often."""
    gain: float
    """The gain over the incumbent that the recipe calls worth finding."""
    intra_patient_correlation: float | None
    """Of differences of the same patient; None where no patient has two examples."""


def power_of(means: PatientMeans | None, worthwhile_gain: float, minimum_gain: float) -> Power:
    """The power of the comparison on the target."""
    gain = minimum_gain + worthwhile_gain
    if means is None or not isfinite(means.standard_error):
        examples, patients = (means.examples, means.patients) if means else (0, 0)
        return Power(examples, patients, None, None, gain, None)
    return Power(
        means.examples,
        means.patients,
        examples_needed(means, worthwhile_gain),
        minimum_gain + means.standard_error * _reach(means.patients),
        gain,
        intra_patient_correlation(means),
    )


def examples_needed(means: PatientMeans, shift: float) -> int | None:
    """Examples, with as many a patient as here, that show a true mean `shift` above the bound to be above it."""
    if not (isfinite(means.standard_error) and shift > 0):
        return None
    variance, a_patient = means.standard_error**2 * means.examples, means.examples / means.patients

    def is_enough(examples: int) -> bool:
        return sqrt(variance / examples) * _reach(examples / a_patient) <= shift

    fewest = ceil(_FEWEST_PATIENTS * a_patient)
    if not is_enough(MOST):
        return None
    return fewest + bisect_left(range(fewest, MOST), True, key=is_enough)


def _reach(patients: float) -> float:
    """Standard errors between the bound and a mean that is shown to be above it with the chance above."""
    from scipy.stats import t

    freedom, level = max(1.0, patients - 1), level_of(patients)
    return float(t.isf(level, freedom) + t.ppf(_PLANNED, freedom))


def intra_patient_correlation(means: PatientMeans) -> float | None:
    """From how much wider the interval is than with as many examples of as many patients."""
    a_patient = means.examples / means.patients
    if a_patient == 1 or not means.spread > 0:
        return None
    effect = means.standard_error**2 / (means.spread**2 / means.examples)
    return max(-1.0, min(1.0, (effect - 1) / (a_patient - 1)))


def items_needed(pairs: BinaryPairs, margin: float) -> int | None:
    """Items that show, four times in five, that no more than `margin` is lost where nothing is lost.

    As many of them differ as here, and at least as many as half an item (none in 25 is not none in a thousand).
    """
    from scipy.stats import norm

    if not margin > 0:
        return None
    share = max(pairs.worse + pairs.better, 0.5) / pairs.items
    reach = float(norm.isf(ALPHA) + norm.ppf(CHANCE))
    items = min(MOST, ceil(share * reach**2 / margin**2))
    while items < MOST and interval(BinaryPairs(items, 0, 0))[0] <= -margin:
        items += 1
    return items
