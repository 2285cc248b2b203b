"""Power of a comparison: the number of examples needed for a gain, and the gain that the present examples detect.

Both use the observed spread, clustered by subject.
"""

from bisect import bisect_left
from dataclasses import dataclass
from math import ceil, isfinite, sqrt

from fine_tune_assets.judging.statistics.binary_pairs import BinaryPairs, score_interval
from fine_tune_assets.judging.statistics.paired_differences import SubjectMeans
from fine_tune_assets.recipes.error_levels import ALPHA, fewest_subjects, gain_level, tail_level

TARGET_POWER = 0.8
"""Minimum power at the reported number of needed examples."""

MAX_ITEMS = 1_000_000
_PLANNED_POWER = 0.87
"""Power used in the computation, so that skewed differences, which have less power, still reach TARGET_POWER."""
_MIN_SUBJECTS = 7
"""Fewer subjects give no interval (paired_differences.py)."""


@dataclass(frozen=True)
class Power:
    examples: int
    subjects: int
    needed_examples: int | None
    """Examples that detect `target_gain` with power 0.8; None if the spread is unknown or MAX_ITEMS are too few."""
    detectable_gain: float | None
    """The smallest gain over the incumbent that the present examples detect with power 0.8."""
    target_gain: float
    """`minimum_gain` plus `worthwhile_gain` of the recipe."""
    intra_subject_correlation: float | None
    """Of differences of the same subject; None if no subject has two examples."""


def estimate_power(means: SubjectMeans | None, worthwhile_gain: float, minimum_gain: float, level: float) -> Power:
    """`level`: the one-sided level at which a gain is shown."""
    gain = minimum_gain + worthwhile_gain
    if means is None or not isfinite(means.standard_error):
        examples, subjects = (means.examples, means.subjects) if means else (0, 0)
        return Power(examples, subjects, None, None, gain, None)
    return Power(
        means.examples,
        means.subjects,
        examples_needed(means, worthwhile_gain, level),
        minimum_gain + means.standard_error * _detection_multiple(means.subjects, level)
        if means.subjects >= (fewest_subjects(level) or MAX_ITEMS)
        else None,
        gain,
        intra_subject_correlation(means),
    )


def examples_needed(means: SubjectMeans, shift: float, level: float | None = None) -> int | None:
    """Examples that show a true mean `shift` above the bound, with the present number of examples per subject.

    `level`: that of a gain (`gain_level`); None: that of an interval.
    """
    if not (isfinite(means.standard_error) and shift > 0):
        return None
    variance, per_subject = means.standard_error**2 * means.examples, means.examples / means.subjects

    def is_enough(examples: int) -> bool:
        return sqrt(variance / examples) * _detection_multiple(examples / per_subject, level) <= shift

    fewest = ceil((_MIN_SUBJECTS if level is None else fewest_subjects(level) or MAX_ITEMS) * per_subject)
    if not is_enough(MAX_ITEMS):
        return None
    return fewest + bisect_left(range(fewest, MAX_ITEMS), True, key=is_enough)


def _detection_multiple(subjects: float, level: float | None) -> float:
    """Standard errors between the bound and a mean that is detected with _PLANNED_POWER."""
    from scipy.stats import t

    freedom = max(1.0, subjects - 1)
    tail = tail_level(subjects) if level is None else gain_level(level, int(subjects))
    return float(t.isf(tail, freedom) + t.ppf(_PLANNED_POWER, freedom))


def intra_subject_correlation(means: SubjectMeans) -> float | None:
    """Estimated from the design effect: the ratio of the variances by subject and for independent examples."""
    per_subject = means.examples / means.subjects
    if per_subject == 1 or not means.standard_deviation > 0:
        return None
    effect = means.standard_error**2 / (means.standard_deviation**2 / means.examples)
    return max(-1.0, min(1.0, (effect - 1) / (per_subject - 1)))


def items_needed(pairs: BinaryPairs, margin: float) -> int | None:
    """Items that show with power 0.8 that at most `margin` is lost, if nothing is lost.

    Assumes the present share of discordant pairs, and at least half an item (none in 25 does not mean none in 1,000).
    """
    from scipy.stats import norm

    if not margin > 0:
        return None
    share = max(pairs.worse + pairs.better, 0.5) / pairs.items
    reach = float(norm.isf(ALPHA) + norm.ppf(TARGET_POWER))
    items = min(MAX_ITEMS, ceil(share * reach**2 / margin**2))
    while items < MAX_ITEMS and score_interval(BinaryPairs(items, 0, 0))[0] <= -margin:
        items += 1
    return items
