"""What is kept of many requests together: counts by bin, and the mean of their Fourier features.

Owns adding up. A sum says nothing of one request once it is of enough of them: how many that is, is the gateway's setting.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fine_tune_assets.drift.fourier import Floats
from fine_tune_assets.drift.reading import RequestFeatures

COUNTED = ("prompt_words", "answer_words", "language", "sections")
"""Features with a bin for each request."""


@dataclass(frozen=True)
class FeatureSums:
    requests: int = 0
    dropped: int = 0
    """Requests that were answered while there was no time to read them."""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Feature → bin → requests."""
    refused: int = 0
    looked_up: int = 0
    """Requests for which documents were looked for."""
    found: int = 0
    embedded: int = 0
    fourier_mean: Floats | None = None
    """Of the embedded ones; None without any."""

    def __add__(self, other: "FeatureSums") -> "FeatureSums":
        return FeatureSums(
            self.requests + other.requests,
            self.dropped + other.dropped,
            {name: Counter(self.counts.get(name, {})) + Counter(other.counts.get(name, {})) for name in COUNTED},
            self.refused + other.refused,
            self.looked_up + other.looked_up,
            self.found + other.found,
            self.embedded + other.embedded,
            _mean(self, other),
        )


def sums_of(features: RequestFeatures, fourier: Floats | None = None) -> FeatureSums:
    """Of one request."""
    return FeatureSums(
        requests=1,
        counts={name: {getattr(features, name): 1} for name in COUNTED},
        refused=int(features.is_refused),
        looked_up=int(features.has_passages is not None),
        found=int(features.has_passages is True),
        embedded=int(fourier is not None),
        fourier_mean=fourier,
    )


def _mean(one: FeatureSums, other: FeatureSums) -> Floats | None:
    parts = [(s.embedded, s.fourier_mean) for s in (one, other) if s.embedded and s.fourier_mean is not None]
    if not parts:
        return None
    weights = np.array([count for count, _ in parts], dtype=np.float64)
    stacked = np.stack([mean for _, mean in parts])
    mean: Floats = weights @ stacked / weights.sum()
    return mean
