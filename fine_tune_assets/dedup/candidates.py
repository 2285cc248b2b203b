"""Which pairs of texts are worth comparing: those with an equal band.

Owns the buckets, and that a crowded one costs time in proportion to its texts: there each text is proposed with the best
ranked ones, which others would be dropped for, and with its neighbours in rank, which are about as long; and of all that
crowded buckets propose for a text, the ones are compared that it shares most bands with.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.dedup.words import Hashes, Ints, distinct

SMALL_BUCKET = 32
"""Up to here every pair of a bucket is compared, unless who asks says otherwise."""
LEADERS, NEIGHBOURS = 16, 16
"""In a larger bucket each text is proposed with as many of the best ranked, and as many that follow it in rank."""
COMPARED = 64
"""Of what larger buckets propose for a text, as many are compared."""


def candidate_pairs(bands: Hashes, all_pairs_up_to: int = SMALL_BUCKET, threads: int = 1) -> Ints:
    """(pairs, 2) of rows, the better one first, in ascending order. `bands` is (texts, bands), its rows in order of rank."""
    count = max(len(bands), 1)
    found = np.zeros(0, np.uint64)
    crowded = _Crowded(count)
    with ThreadPoolExecutor(threads) as pool:
        for at in range(0, bands.shape[1], threads):
            columns = [np.ascontiguousarray(bands[:, c]) for c in range(at, min(at + threads, bands.shape[1]))]
            proposed = list(pool.map(partial(_pairs_of_band, all_pairs_up_to), columns))
            found = distinct(np.concatenate([found, *(pairs for pairs, _ in proposed)]))
            for _, pairs in proposed:
                crowded.add(pairs)
    found = distinct(np.concatenate((found, crowded.chosen())))
    return np.stack((found // np.uint64(count), found % np.uint64(count)), axis=1).astype(np.int64)


class _Crowded:
    """Pairs from crowded buckets, and how many bands proposed each. Never holds more than twice COMPARED a text."""

    def __init__(self, count: int) -> None:
        self._count = np.uint64(count)
        self._pairs, self._bands = np.zeros(0, np.uint64), np.zeros(0, np.int64)

    def add(self, pairs: Hashes) -> None:
        if not len(pairs):
            return
        merged = np.concatenate((self._pairs, pairs))
        self._pairs, place = np.unique(merged, return_inverse=True)
        bands = np.concatenate((self._bands, np.ones(len(pairs), np.int64)))
        self._bands = np.bincount(place, weights=bands).astype(np.int64)
        if len(self._pairs) > 2 * COMPARED * int(self._count):
            self._keep_best()

    def chosen(self) -> Hashes:
        self._keep_best()
        return self._pairs

    def _keep_best(self) -> None:
        worse = self._pairs % self._count
        order = np.lexsort((self._pairs, -self._bands, worse))
        place = np.arange(len(order)) - np.searchsorted(worse[order], worse[order])
        kept = np.sort(order[place < COMPARED])
        self._pairs, self._bands = self._pairs[kept], self._bands[kept]


def _pairs_of_band(small: int, keys: Hashes) -> tuple[Hashes, Hashes]:
    """Pairs of rows with an equal key, each as better · rows + worse: those of small buckets, those of crowded ones."""
    rows, sizes = _shared(keys)
    starts = np.cumsum(sizes) - sizes
    left = np.repeat(starts + sizes, sizes) - np.arange(len(rows))
    is_small = np.repeat(sizes <= small, sizes)
    pairs = [
        _pairs_at(step, rows, is_small & (left > step), len(keys))
        for step in range(1, int(sizes[sizes <= small].max(initial=1)))
    ]
    crowded = []
    if not is_small.all():
        steps = range(1, NEIGHBOURS + 1)
        crowded = [_pairs_at(step, rows, ~is_small & (left > step), len(keys)) for step in steps]
    for start, size in zip(starts[sizes > small], sizes[sizes > small], strict=True):
        members = rows[start : start + size]
        crowded.extend(_pair(members[p], members[p + 1 :], len(keys)) for p in range(min(LEADERS, int(size) - 1)))
    nothing = [np.zeros(0, np.uint64)]
    return np.concatenate(pairs or nothing), distinct(np.concatenate(crowded or nothing))


def _pairs_at(step: int, rows: Ints, flags: NDArray[np.bool_], count: int) -> Hashes:
    at = np.flatnonzero(flags)
    return _pair(rows[at], rows[at + step], count)


def _shared(keys: Hashes) -> tuple[Ints, Ints]:
    """Rows that share their key with another one, bucket by bucket and by rank in it; and the size of each bucket."""
    order = np.argsort(keys)
    sorted_keys = keys[order]
    is_first = np.concatenate(([True], sorted_keys[1:] != sorted_keys[:-1])) if len(keys) else np.zeros(0, np.bool_)
    starts = np.append(np.flatnonzero(is_first), len(keys))
    sizes = np.diff(starts)
    is_bucket = (sizes > 1) & (sorted_keys[starts[:-1]] != 0)
    kept = order[np.repeat(is_bucket, sizes)]
    bucket = np.repeat(np.arange(int(is_bucket.sum())), sizes[is_bucket])
    # The fast sort leaves equal keys in any order: rank decides.
    return kept[np.lexsort((kept, bucket))], sizes[is_bucket]


def _pair(better: Ints, worse: Ints, count: int) -> Hashes:
    return better.astype(np.uint64) * np.uint64(count) + worse.astype(np.uint64)
