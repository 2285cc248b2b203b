"""Confidence intervals of proportions."""

import math

_Z = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


def wilson_interval(hits: int, total: int) -> tuple[float, float]:
    """95 % confidence interval of a proportion. Wilson, JASA 22 (1927) 209-212: valid for small counts, and at 0 and 1."""
    share, z2 = hits / total, _Z * _Z
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    return max(0.0, centre - half), min(1.0, centre + half)
