"""Levels of the gate's statistical tests: of one interval, and of one verdict among those of a year."""

from math import log

ALPHA = 0.025
"""One-sided level: the probability outside a 95 % interval at one end."""
FEW_SUBJECTS = 60
"""Below this number the one-sided level is halved. With skewed differences (many small gains, few large losses), too many
candidates without a gain would be promoted otherwise (benchmarks/results/promotion-verdicts.md)."""


def tail_level(subjects: float, level: float = ALPHA) -> float:
    """The probability outside the interval at one end; halved with few subjects."""
    return level / 2 if subjects < FEW_SUBJECTS else level


DRAWS = 9999
"""Draws of subjects for an interval."""
GAIN_DRAWS = 99_999
"""Draws of subjects for the test of a gain, whose level is much smaller."""


def gain_level(level: float, subjects: int) -> float:
    """The share of draws without a gain below which a gain is shown at this one-sided level.

    Far from the mean, skewed differences (skewness -2: many small gains, few large losses) exceed the nominal level, by up to
    nine times at 60 subjects. The exponent makes up for it; it was fitted to the simulation in benchmarks/results/0032.
    """
    exponent = max(0.0, 0.85 - 0.165 * log(max(1, subjects) / 20))
    return float(min(tail_level(subjects), ALPHA * (level / ALPHA) ** (1 + exponent)))


def smallest_tail(subjects: int) -> float:
    """The smallest share of draws without a gain: a draw without any subject, one in 2^subjects, counts against the candidate."""
    return (1 + GAIN_DRAWS * 0.5**subjects) / (GAIN_DRAWS + 1)


def fewest_subjects(level: float) -> int | None:
    """The number of subjects with which a gain can be shown at this level; None if no number is enough."""
    return next((n for n in range(1, 2000) if smallest_tail(n) <= gain_level(level, n)), None)
