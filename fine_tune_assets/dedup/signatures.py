"""MinHash signatures cut into bands, and the pairs of texts with an equal band, which are worth comparing.

What is kept of a signature is one hash a band, enough to propose pairs; the similarity itself is computed from the shingles.
numpy does it for a block of texts at once, about as fast as rensa once that one's rows are an array: 59,000 against 53,000 texts
of 250 shingles a second and core, 192 permutations.

A crowded bucket costs time in proportion to its texts: each text is proposed with the best ranked ones, which others would be
dropped for, and with its neighbours in rank, which are about as long. Of all that crowded buckets propose for a text, those are
compared with which it shares most bands.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.dedup.sketches import starts_of
from fine_tune_assets.dedup.words import Hashes, Ints, distinct, mixed

PERMUTATIONS = 192
"""More miss fewer pairs and propose fewer vain ones, and cost time in proportion (decision 0013)."""
MISSED_FRACTION = 0.05
"""Chance, at most, that a pair exactly at the threshold is never proposed; above it the chance falls fast."""
SEED = 20260101
_TEXTS_AT_ONCE = 100
"""About 100 KB of shingles: they stay in the processor's cache for all permutations."""
NO_SHINGLE = np.uint64(0)
"""Band of a text without shingles. It is in no bucket."""
Words32 = NDArray[np.uint32]


def bands_for(threshold: float) -> tuple[int, int]:
    """Bands, and rows of a band: the most rows with which a pair at `threshold` is missed with MISSED_FRACTION at most.

    b bands of r rows propose a pair of similarity s with probability 1 - (1 - s^r)^b (Leskovec, Rajaraman and Ullman,
    Mining of Massive Datasets, 3.4.2). More rows propose fewer pairs that then have to be verified.
    """
    for rows in range(PERMUTATIONS, 1, -1):
        bands = PERMUTATIONS // rows
        if (1 - threshold**rows) ** bands <= MISSED_FRACTION:
            return bands, rows
    return PERMUTATIONS, 1


def band_hashes(shingles: Hashes, counts: Ints, bands: int, rows: int, threads: int = 1) -> Hashes:
    """(texts, bands), of each text's shingles; `counts` says how many are whose. Repeated shingles do not matter."""
    starts = starts_of(counts)
    hashes = np.full((len(counts), bands), NO_SHINGLE)
    with_shingles = np.flatnonzero(counts)
    blocks = [with_shingles[at : at + _TEXTS_AT_ONCE] for at in range(0, len(with_shingles), _TEXTS_AT_ONCE)]

    def fill(texts: Ints) -> None:
        first, last = starts[texts[0]], starts[texts[-1] + 1]
        # Texts without shingles between them take no place, so the runs touch.
        smallest = _smallest(shingles[first:last], starts[texts] - first, bands * rows)
        hashes[texts] = _band_hashes(smallest, bands, rows)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, blocks))
    return hashes


def _smallest(shingles: Hashes, starts: Ints, permutations: int) -> Words32:
    """(permutations, texts): the smallest shingle under each permutation. a·h modulo 2^32 with an odd a is a permutation."""
    values = (shingles >> np.uint64(32)).astype(np.uint32)
    permuted = np.empty_like(values)
    smallest = np.empty((permutations, len(starts)), np.uint32)
    for number, (factor, shift) in enumerate(zip(*_permutations(permutations), strict=True)):
        np.multiply(values, factor, out=permuted)
        np.add(permuted, shift, out=permuted)
        np.minimum.reduceat(permuted, starts, out=smallest[number])
    return smallest


def _band_hashes(smallest: Words32, bands: int, rows: int) -> Hashes:
    grouped = smallest.reshape(bands, rows, -1).astype(np.uint64)
    hashes = np.full((bands, smallest.shape[1]), np.uint64(0x51ED270B))
    for row in range(rows):
        hashes = mixed(hashes * np.uint64(0x9FB21C651E98DF25) + grouped[:, row] + np.uint64(1))
    return np.maximum(hashes, np.uint64(1)).T


@lru_cache(maxsize=4)
def _permutations(count: int) -> tuple[Words32, Words32]:
    """Made by a hash and not by numpy's generator: stored bands must mean the same in its next version."""
    numbers = mixed(np.arange(SEED, SEED + 2 * count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    values = (numbers >> np.uint64(32)).astype(np.uint32)
    return values[:count] | np.uint32(1), values[count:]


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
