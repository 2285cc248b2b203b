"""What is kept of many requests together: counts by bin.

Owns adding up. A sum says nothing of one request once it is of enough of them: how many that is, is the gateway's setting.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

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

    def __add__(self, other: "FeatureSums") -> "FeatureSums":
        return FeatureSums(
            self.requests + other.requests,
            self.dropped + other.dropped,
            {name: Counter(self.counts.get(name, {})) + Counter(other.counts.get(name, {})) for name in COUNTED},
            self.refused + other.refused,
            self.looked_up + other.looked_up,
            self.found + other.found,
        )


def sums_of(features: RequestFeatures) -> FeatureSums:
    """Of one request."""
    return FeatureSums(
        requests=1,
        counts={name: {getattr(features, name): 1} for name in COUNTED},
        refused=int(features.is_refused),
        looked_up=int(features.has_passages is not None),
        found=int(features.has_passages is True),
    )
