"""One vector for a text that the encoder read in passages. Does not know the encoder."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Encode = Callable[[Sequence[str]], tuple[Floats, NDArray[np.int32]]]
"""Texts → the vectors of all their passages, each of length 1, one text after the other, and how many each text has. Of no texts,
no vectors of the same width."""


def means_of(vectors: Floats, counts: NDArray[Any]) -> Floats:
    """(texts, width), of length 1: the mean of each text's passages, of which every text has one at least.

    `vectors`: (passages, width), one text after the other; `counts`: (texts,), how many passages each has.
    """
    if not len(counts):
        return vectors
    starts = np.cumsum(counts, dtype=np.int64) - counts
    sums = np.add.reduceat(vectors, starts, axis=0)
    return (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)  # type: ignore[no-any-return]
