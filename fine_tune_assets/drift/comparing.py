"""How far a window is from the training set, and from where on that is no chance. Pure.

Owns PSI, and the limits that chance alone passes as seldom as asked for: of distances by resampling the training set in the
window's size, of rates by what a beta-binomial foresees after the requests that are known.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESAMPLES = 4000
_HALF = 0.5
"""Added to each bin (Jeffreys), so that an empty one does not make the distance endless."""


def psi(window: Mapping[str, int], reference: Mapping[str, int]) -> float:
    """Population stability index: 0 for equal shares. Bins that only one of the two has count too."""
    bins = sorted({*window, *reference})
    counts = [np.array([[side.get(name, 0) for name in bins]], dtype=np.float64) for side in (window, reference)]
    return float(_psi(*counts)[0])


def _psi(window: Floats, reference: Floats) -> Floats:
    """(samples, bins) of each → (samples)."""
    one, other = (_shares(side) for side in (window, reference))
    found: Floats = ((one - other) * np.log(one / other)).sum(axis=1)
    return found


def _shares(counts: Floats) -> Floats:
    smoothed = counts + _HALF
    shares: Floats = smoothed / smoothed.sum(axis=1, keepdims=True)
    return shares


def psi_limit(reference: Mapping[str, int], size: int, level: float, seed: int) -> float:
    """What a window of `size` requests from the same source passes with a probability of `level`."""
    counts = np.array(list(reference.values()), dtype=np.float64)
    total, shares = int(counts.sum()), counts / counts.sum()
    random = np.random.default_rng(seed)
    drawn = [random.multinomial(of, shares, RESAMPLES).astype(np.float64) for of in (size, total)]
    return float(np.quantile(_psi(drawn[0], drawn[1]), 1 - level))


def highest_rate(count: int, of: int, size: int, level: float) -> float:
    """After `count` in `of` requests: the share of `size` new ones that is passed with a probability of at most `level`."""
    return _foreseen(count, of, size, 1 - level)


def lowest_rate(count: int, of: int, size: int, level: float) -> float:
    return _foreseen(count, of, size, level)


def _foreseen(count: int, of: int, size: int, quantile: float) -> float:
    # Imported here: it takes half a second.
    from scipy.stats import betabinom

    return float(betabinom.ppf(quantile, size, count + _HALF, of - count + _HALF)) / size
