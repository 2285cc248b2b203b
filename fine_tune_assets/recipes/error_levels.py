"""Levels of the gate's statistical tests: of one interval, and of one verdict among those of a year."""

ALPHA = 0.025
"""One-sided level: the probability outside a 95 % interval at one end."""
FEW_SUBJECTS = 60
"""Below this number the one-sided level is halved. With skewed differences (many small gains, few large losses), too many
candidates without a gain would be promoted otherwise (benchmarks/results/0032-promotion-verdicts.md)."""


def tail_level(subjects: float, level: float = ALPHA) -> float:
    """The probability outside the interval at one end; halved with few subjects."""
    return level / 2 if subjects < FEW_SUBJECTS else level


def verdict_level(yearly_false_promotions: float, verdicts: int) -> float:
    """The one-sided level of one verdict, at which `verdicts` of them promote a candidate without a gain with at most this chance
    (Bonferroni)."""
    return min(ALPHA, yearly_false_promotions / verdicts)
