"""The training set as requests are compared with it: the same sums, and how far chance alone takes a window of each size.

Owns making it and its form as JSON. It holds sums over all examples and no example's own figures, so it may be kept: of a person
who is erased there is nothing to take out, and the sums are made anew without them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

from fine_tune_assets.drift.comparing import psi_limit
from fine_tune_assets.drift.reading import COUNTED, Exchange, FeatureSums, features_of, sums_of
from fine_tune_assets.recipes.schema import Heading

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
