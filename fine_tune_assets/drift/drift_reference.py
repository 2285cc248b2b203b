"""Summarizes the training set for comparison with requests: feature sums, and PSI limits for each window size.

Contains only sums over all examples, so it may be stored. After an erasure the sums are computed again without the subject.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.drift.exchange_features import (
    BINNED_FEATURES,
    Exchange,
    FeatureSums,
    extract_features,
    sum_features,
)
from fine_tune_assets.recipes.schema import Heading

Floats = NDArray[np.float64]
RESAMPLES = 4000
_PRIOR_COUNT = 0.5
"""Added to each bin (Jeffreys prior), so that an empty bin does not make the distance infinite."""


def psi(window: Mapping[str, int], reference: Mapping[str, int]) -> float:
    """Population stability index: 0 for equal shares. Includes bins that only one of the two has."""
    bins = sorted({*window, *reference})
    counts = [np.array([[side.get(name, 0) for name in bins]], dtype=np.float64) for side in (window, reference)]
    return float(_psi_by_sample(*counts)[0])


def _psi_by_sample(window: Floats, reference: Floats) -> Floats:
    """Inputs (samples, bins); result (samples)."""
    one, other = (_shares(side) for side in (window, reference))
    distance: Floats = ((one - other) * np.log(one / other)).sum(axis=1)
    return distance


def _shares(counts: Floats) -> Floats:
    smoothed = counts + _PRIOR_COUNT
    shares: Floats = smoothed / smoothed.sum(axis=1, keepdims=True)
    return shares


def psi_limit(reference: Mapping[str, int], size: int, level: float, seed: int) -> float:
    """PSI that a window of `size` requests from the same source exceeds with probability `level`."""
    counts = np.array(list(reference.values()), dtype=np.float64)
    total, shares = int(counts.sum()), counts / counts.sum()
    random = np.random.default_rng(seed)
    drawn = [random.multinomial(of, shares, RESAMPLES).astype(np.float64) for of in (size, total)]
    return float(np.quantile(_psi_by_sample(drawn[0], drawn[1]), 1 - level))


def max_expected_rate(count: int, total: int, size: int, level: float) -> float:
    """Rate that `size` new requests exceed with probability at most `level`, after `count` in `total` requests."""
    return _predictive_quantile(count, total, size, 1 - level)


def min_expected_rate(count: int, total: int, size: int, level: float) -> float:
    return _predictive_quantile(count, total, size, level)


def _predictive_quantile(count: int, of: int, size: int, quantile: float) -> float:
    # Imported lazily: it takes half a second.
    from scipy.stats import betabinom

    return float(betabinom.ppf(quantile, size, count + _PRIOR_COUNT, of - count + _PRIOR_COUNT)) / size


MIN_WINDOW_SIZE = 25
WINDOW_SIZES = tuple(MIN_WINDOW_SIZE * 2**power for power in range(10))
"""Window sizes with a known limit, up to 12,800 requests. Other sizes use the limit of the next smaller one."""
MIN_EXAMPLES = 50
"""Minimum number of examples: sums over fewer could reveal a single one."""


@dataclass(frozen=True)
class Reference:
    sums: FeatureSums
    limits: Mapping[str, tuple[float, ...]]
    """Feature → PSI limit for each of WINDOW_SIZES."""

    def limit(self, feature: str, size: int) -> float | None:
        """None if the window is smaller than the smallest of WINDOW_SIZES."""
        fitting = [limit for limit, of in zip(self.limits[feature], WINDOW_SIZES, strict=True) if of <= size]
        return fitting[-1] if fitting else None


def build_reference(
    exchanges: Sequence[Exchange], headings: Sequence[Heading], *, level: float, seed: int
) -> Reference | None:
    """`level`: false-alarm probability per feature. None for fewer than 50 examples."""
    if len(exchanges) < MIN_EXAMPLES:
        return None
    sums = reduce(add, (sum_features(extract_features(one, headings)) for one in exchanges))
    return Reference(
        sums,
        {
            name: tuple(psi_limit(sums.counts[name], size, level, seed) for size in WINDOW_SIZES)
            for name in BINNED_FEATURES
        },
    )


def reference_to_json(reference: Reference) -> str:
    counts = {name: dict(bins) for name, bins in reference.sums.counts.items()}
    sums = {**vars(reference.sums), "counts": counts}
    return json.dumps({"sums": sums, "limits": reference.limits}, sort_keys=True, ensure_ascii=False)


def reference_from_json(content: str) -> Reference:
    """Raises ValueError, KeyError or TypeError if the content is invalid."""
    values = json.loads(content)
    return Reference(FeatureSums(**values["sums"]), {name: tuple(limits) for name, limits in values["limits"].items()})
