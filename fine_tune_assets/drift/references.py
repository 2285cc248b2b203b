"""The training set as requests are compared with it: the same sums, and how far chance alone takes a window of each size.

Owns making it and its form as JSON. It holds sums over all examples and no example's own figures, so it may be kept: of a person
who is erased there is nothing to take out, and the sums are made anew without them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.drift.exchange_features import COUNTED, Exchange, FeatureSums, features_of, sums_of
from fine_tune_assets.recipes.schema import Heading

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


SMALLEST = 25
SIZES = tuple(SMALLEST * 2**power for power in range(10))
"""Of windows that a limit is known for, up to 12,800 requests; one in between has the limit of the next smaller size."""
FEWEST_EXAMPLES = 50
"""Of which sums are kept: fewer would say something of each."""


@dataclass(frozen=True)
class Reference:
    sums: FeatureSums
    limits: Mapping[str, tuple[float, ...]]
    """Feature → what chance passes, for each of SIZES."""

    def limit(self, feature: str, size: int) -> float | None:
        """None where the window is smaller than any that a limit is known for."""
        fitting = [limit for limit, of in zip(self.limits[feature], SIZES, strict=True) if of <= size]
        return fitting[-1] if fitting else None


def make_reference(
    exchanges: Sequence[Exchange], headings: Sequence[Heading], *, level: float, seed: int
) -> Reference | None:
    """`level`: how often chance may pass each limit. None of fewer than 50 examples."""
    if len(exchanges) < FEWEST_EXAMPLES:
        return None
    sums = reduce(add, (sums_of(features_of(one, headings)) for one in exchanges))
    return Reference(
        sums, {name: tuple(psi_limit(sums.counts[name], size, level, seed) for size in SIZES) for name in COUNTED}
    )


def as_json(reference: Reference) -> str:
    counts = {name: dict(bins) for name, bins in reference.sums.counts.items()}
    sums = {**vars(reference.sums), "counts": counts}
    return json.dumps({"sums": sums, "limits": reference.limits}, sort_keys=True, ensure_ascii=False)


def from_json(content: str) -> Reference:
    """Raises ValueError, KeyError or TypeError for what is none."""
    values = json.loads(content)
    return Reference(FeatureSums(**values["sums"]), {name: tuple(found) for name, found in values["limits"].items()})
