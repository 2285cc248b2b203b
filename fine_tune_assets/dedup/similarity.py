"""The true similarity of two texts: shared shingles divided by all shingles (Jaccard). MinHash only proposes pairs.

Owns the measure. Works on many pairs at once by one sort; 47 bits of a shingle's hash are compared, with which two
different shingles of one pair of notes are taken for the same once in a billion pairs.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.dedup.sketching import flat_places, starts_of
from fine_tune_assets.dedup.words import Hashes, Ints, distinct

_SHINGLES_AT_ONCE = 4_000_000
_PAIRS_AT_ONCE = 1 << 16
_PAIR_SHIFT = np.uint64(48)
_HASH_BITS = np.uint64((1 << 48) - 2)


def jaccard_of_pairs(pairs: Ints, shingles: Hashes, counts: Ints) -> NDArray[np.float64]:
    """Similarity of each pair of rows, 0 to 1; `counts` says how many of the shingles are whose. Repeats count once.

    Two texts without a shingle are not alike.
    """
    starts = starts_of(counts)
    found = np.zeros(len(pairs))
    for at, end in _parts(counts[pairs[:, 0]] + counts[pairs[:, 1]]):
        found[at:end] = _jaccard(pairs[at:end], shingles, starts)
    return found


def distinct_shingles(shingles: Hashes, counts: Ints) -> tuple[Hashes, Ints]:
    """The 47 bits of each text's shingles that are compared, each once and in ascending order, and their counts."""
    parts, found = [], np.zeros(len(counts), np.int64)
    starts = starts_of(counts)
    for at in range(0, len(counts), _PAIRS_AT_ONCE):
        texts = np.arange(at, min(at + _PAIRS_AT_ONCE, len(counts)))
        keys = distinct(_keys(texts, shingles, starts))
        found[texts] = np.bincount((keys >> _PAIR_SHIFT).astype(np.int64), minlength=len(texts))
        parts.append((keys & _HASH_BITS) >> np.uint64(1))
    return np.concatenate(parts) if parts else shingles[:0], found


def may_reach(pairs: Ints, counts: Ints, threshold: float) -> NDArray[np.bool_]:
    """False for pairs whose numbers of different shingles alone rule the threshold out: shared ≤ smaller, all ≥ larger."""
    one, other = counts[pairs[:, 0]], counts[pairs[:, 1]]
    return np.minimum(one, other) >= threshold * np.maximum(one, other)  # type: ignore[no-any-return]


def _parts(sizes: Ints) -> list[tuple[int, int]]:
    """Stretches of pairs that are computed at once."""
    parts, at, total = [], 0, np.cumsum(sizes)
    while at < len(sizes):
        before = total[at - 1] if at else 0
        end = int(np.searchsorted(total, before + _SHINGLES_AT_ONCE, side="right"))
        end = min(max(end, at + 1), at + _PAIRS_AT_ONCE)
        parts.append((at, end))
        at = end
    return parts


def _jaccard(pairs: Ints, shingles: Hashes, starts: Ints) -> NDArray[Any]:
    sides = [_keys(pairs[:, side], shingles, starts) | np.uint64(side) for side in (0, 1)]
    keys = distinct(np.concatenate(sides))
    is_shared = (keys[1:] >> np.uint64(1)) == (keys[:-1] >> np.uint64(1))
    of_pair = (keys >> _PAIR_SHIFT).astype(np.int64)
    held = np.bincount(of_pair, minlength=len(pairs))
    shared = np.bincount(of_pair[1:][is_shared], minlength=len(pairs))
    union = held - shared
    return np.divide(shared, union, out=np.zeros(len(pairs)), where=union > 0)


def _keys(rows: Ints, shingles: Hashes, starts: Ints) -> Hashes:
    """Number of the pair, then the shingle; the last bit is free for the side."""
    numbers = np.repeat(np.arange(len(rows), dtype=np.uint64), starts[rows + 1] - starts[rows])
    return (numbers << _PAIR_SHIFT) | ((shingles[flat_places(starts, rows)] << np.uint64(1)) & _HASH_BITS)
