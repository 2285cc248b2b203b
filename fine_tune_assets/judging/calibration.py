"""From a raw figure to people's scale: a map that never turns an order around.

Owns fitting and applying it. Centred isotonic regression (Oron and Flournoy, Statistics in Biopharmaceutical Research 9, 2017):
neighbours that people rated in the other order are pooled, and the middles of the pools are joined by straight lines, so that
figures which differ keep a difference.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Knots = tuple[tuple[float, float], ...]
"""(raw figure, human rating), both rising. Between them the map is straight, beyond the ends it is level."""


def fit_knots(raw: Sequence[float], human: Sequence[float]) -> Knots:
    """The map that fits best. The order of the pairs does not matter.

    >>> fit_knots([1, 2, 3, 4], [0.0, 0.75, 0.25, 1.0])
    ((1.0, 0.0), (2.5, 0.5), (4.0, 1.0))
    """
    from scipy.optimize import isotonic_regression

    values, index, counts = np.unique(np.asarray(raw, float), return_inverse=True, return_counts=True)
    # Sorted first: sums of the same numbers in another order differ in the last digit.
    order = np.lexsort((np.asarray(human, float), index))
    means = np.bincount(index[order], weights=np.asarray(human, float)[order]) / counts
    fitted = isotonic_regression(means, weights=counts)
    # Neighbours that people rated exactly alike are one pool too, or the line between them would be level.
    starts = [0, *(np.flatnonzero(np.diff(fitted.x) > 0) + 1), len(means)]
    pools = pairwise(starts)
    return tuple(
        (float(np.average(values[start:end], weights=counts[start:end])), float(fitted.x[start]))
        for start, end in pools
    )


def with_ends(knots: Knots, worst: tuple[float, float], best: tuple[float, float]) -> Knots:
    """The map between two ends that are known without anybody's rating; what lies outside of them is left out."""
    inner = [knot for knot in knots if worst[0] < knot[0] < best[0] and worst[1] < knot[1] < best[1]]
    return (worst, *inner, best)


def calibrated(raw: Floats, knots: Knots) -> Floats:
    """Each figure on people's scale."""
    xs, ys = zip(*knots, strict=True)
    return np.interp(raw, xs, ys)
