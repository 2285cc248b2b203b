"""A judge's grades as people would have given them: shown beside what the judge said, and never in its place.

Owns applying the map that a licence brings with it. Why no rule of the verdict reads it stands in docs/decisions/0028.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fine_tune_assets.judging.calibration import Knots, calibrated


@dataclass(frozen=True)
class PeoplesScale:
    """From a judge's grades to those of the people whom it was measured against."""

    labelled_set: str
    """What people rated."""
    fingerprint: str
    knots: Knots

    def of(self, score: float) -> float:
        """1 to 10."""
        return round(float(calibrated(np.array([score]), self.knots)[0]), 2)


@dataclass(frozen=True)
class MappedMeans:
    """Means of the mapped grades, of the examples that are graded for both."""

    candidate: float
    incumbent: float
    labelled_sets: tuple[str, ...]
    """Whose scale it is."""


def mapped_means(
    graded: Sequence[tuple[str | None, float, float]], scales: Mapping[str, PeoplesScale]
) -> MappedMeans | None:
    """Of (task, candidate's grade, incumbent's). None where a task has no map: a mean of a part would be another figure."""
    used = [scales.get(task or "") for task, _, _ in graded]
    whole = [scale for scale in used if scale is not None]
    if not graded or len(whole) < len(graded):
        return None
    candidate = [scale.of(new) for scale, (_, new, _) in zip(whole, graded, strict=True)]
    incumbent = [scale.of(old) for scale, (_, _, old) in zip(whole, graded, strict=True)]
    names = tuple(sorted({scale.labelled_set for scale in whole}))
    return MappedMeans(round(float(np.mean(candidate)), 4), round(float(np.mean(incumbent)), 4), names)
