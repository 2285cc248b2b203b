"""Computes MinHash signatures in bands, and proposes pairs of texts that share a band.

Only one hash per band is stored, enough to propose pairs; the similarity is computed from the shingles. numpy processes a block
of texts at once, about as fast as rensa including its conversion to arrays: 59,000 versus 53,000 texts of 250 shingles per second
and core, with 192 permutations.

The cost of a crowded bucket is linear: each text is paired with the best-ranked ones, for which others would be dropped, and with
its neighbours in rank, which have a similar length. Of these pairs, those that share most bands are compared.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.dedup.sketches import offsets_from_counts
from fine_tune_assets.dedup.word_hashes import Hashes, Ints, mix_hashes, sorted_unique

PERMUTATIONS = 192
"""More permutations miss fewer pairs and propose fewer false ones, at linear cost (decision 0005)."""
MAX_MISS_RATE = 0.05
"""Maximum probability that a pair exactly at the threshold is never proposed; it falls quickly above the threshold."""
SEED = 20260101
_BLOCK_TEXTS = 100
"""About 100 KB of shingles, which stay in the processor cache for all permutations."""
NO_SHINGLE = np.uint64(0)
"""Band of a text without shingles; belongs to no bucket."""
Words32 = NDArray[np.uint32]


def bands_for(threshold: float) -> tuple[int, int]:
    """Return the number of bands and rows per band: the most rows that miss a pair at `threshold` with at most MAX_MISS_RATE.

    b bands of r rows propose a pair of similarity s with probability 1 - (1 - s^r)^b (Leskovec, Rajaraman and Ullman,
    Mining of Massive Datasets, 3.4.2). More rows propose fewer pairs to verify.
    """
    for rows in range(PERMUTATIONS, 1, -1):
        bands = PERMUTATIONS // rows
        if (1 - threshold**rows) ** bands <= MAX_MISS_RATE:
            return bands, rows
    return PERMUTATIONS, 1


def band_hashes(shingles: Hashes, counts: Ints, bands: int, rows: int, threads: int = 1) -> Hashes:
    """Return (texts, bands); `counts` has the number of shingles per text. Repeated shingles do not matter."""
    starts = offsets_from_counts(counts)
    hashes = np.full((len(counts), bands), NO_SHINGLE)
    with_shingles = np.flatnonzero(counts)
    blocks = [with_shingles[at : at + _BLOCK_TEXTS] for at in range(0, len(with_shingles), _BLOCK_TEXTS)]

    def fill(texts: Ints) -> None:
        first, last = starts[texts[0]], starts[texts[-1] + 1]
        # Texts without shingles occupy no space, so the runs are adjacent.
        smallest = _minimum_hashes(shingles[first:last], starts[texts] - first, bands * rows)
        hashes[texts] = _band_hashes(smallest, bands, rows)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, blocks))
    return hashes


def _minimum_hashes(shingles: Hashes, starts: Ints, permutations: int) -> Words32:
    """(permutations, texts): the smallest shingle under each permutation. a·h modulo 2^32 with odd a is a permutation."""
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
        hashes = mix_hashes(hashes * np.uint64(0x9FB21C651E98DF25) + grouped[:, row] + np.uint64(1))
    return np.maximum(hashes, np.uint64(1)).T


@lru_cache(maxsize=4)
def _permutations(count: int) -> tuple[Words32, Words32]:
    """Derived from a hash, not from numpy's generator: stored bands must stay valid across numpy versions."""
    numbers = mix_hashes(np.arange(SEED, SEED + 2 * count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    values = (numbers >> np.uint64(32)).astype(np.uint32)
    return values[:count] | np.uint32(1), values[count:]


EXHAUSTIVE_BUCKET_SIZE = 32
"""Buckets up to this size are compared pairwise in full by default."""
LEADERS, NEIGHBOURS = 16, 16
"""In larger buckets, each text is paired with this many of the best-ranked ones, and with this many next in rank."""
MAX_CROWDED_PAIRS = 64
"""Maximum number of pairs per text compared from larger buckets."""


def candidate_pairs(bands: Hashes, exhaustive_bucket_size: int = EXHAUSTIVE_BUCKET_SIZE, threads: int = 1) -> Ints:
    """Return ascending (pairs, 2) of rows, better one first. `bands` is (texts, bands), with rows in order of rank."""
    count = max(len(bands), 1)
    found = np.zeros(0, np.uint64)
    crowded = _CrowdedPairs(count)
    with ThreadPoolExecutor(threads) as pool:
        for at in range(0, bands.shape[1], threads):
            columns = [np.ascontiguousarray(bands[:, c]) for c in range(at, min(at + threads, bands.shape[1]))]
            proposed = list(pool.map(partial(_pairs_of_band, exhaustive_bucket_size), columns))
            found = sorted_unique(np.concatenate([found, *(pairs for pairs, _ in proposed)]))
            for _, pairs in proposed:
                crowded.add(pairs)
    found = sorted_unique(np.concatenate((found, crowded.best_pairs())))
    return np.stack((found // np.uint64(count), found % np.uint64(count)), axis=1).astype(np.int64)


class _CrowdedPairs:
    """Pairs from crowded buckets and the number of bands that proposed each; at most 2 × MAX_CROWDED_PAIRS per text."""

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
        if len(self._pairs) > 2 * MAX_CROWDED_PAIRS * int(self._count):
            self._keep_best()

    def best_pairs(self) -> Hashes:
        self._keep_best()
        return self._pairs

    def _keep_best(self) -> None:
        worse = self._pairs % self._count
        order = np.lexsort((self._pairs, -self._bands, worse))
        place = np.arange(len(order)) - np.searchsorted(worse[order], worse[order])
        kept = np.sort(order[place < MAX_CROWDED_PAIRS])
        self._pairs, self._bands = self._pairs[kept], self._bands[kept]


def _pairs_of_band(small: int, keys: Hashes) -> tuple[Hashes, Hashes]:
    """Pairs of rows with equal keys, encoded as better · rows + worse: from small buckets, and from crowded ones."""
    rows, sizes = _shared_buckets(keys)
    starts = np.cumsum(sizes) - sizes
    left = np.repeat(starts + sizes, sizes) - np.arange(len(rows))
    is_small = np.repeat(sizes <= small, sizes)
    pairs = [
        _pairs_at_distance(step, rows, is_small & (left > step), len(keys))
        for step in range(1, int(sizes[sizes <= small].max(initial=1)))
    ]
    crowded = []
    if not is_small.all():
        steps = range(1, NEIGHBOURS + 1)
        crowded = [_pairs_at_distance(step, rows, ~is_small & (left > step), len(keys)) for step in steps]
    for start, size in zip(starts[sizes > small], sizes[sizes > small], strict=True):
        members = rows[start : start + size]
        crowded.extend(
            _encode_pairs(members[p], members[p + 1 :], len(keys)) for p in range(min(LEADERS, int(size) - 1))
        )
    nothing = [np.zeros(0, np.uint64)]
    return np.concatenate(pairs or nothing), sorted_unique(np.concatenate(crowded or nothing))


def _pairs_at_distance(step: int, rows: Ints, flags: NDArray[np.bool_], count: int) -> Hashes:
    at = np.flatnonzero(flags)
    return _encode_pairs(rows[at], rows[at + step], count)


def _shared_buckets(keys: Hashes) -> tuple[Ints, Ints]:
    """Rows that share their key with another one, by bucket and rank; and the size of each bucket."""
    order = np.argsort(keys)
    sorted_keys = keys[order]
    is_first = np.concatenate(([True], sorted_keys[1:] != sorted_keys[:-1])) if len(keys) else np.zeros(0, np.bool_)
    starts = np.append(np.flatnonzero(is_first), len(keys))
    sizes = np.diff(starts)
    is_bucket = (sizes > 1) & (sorted_keys[starts[:-1]] != 0)
    kept = order[np.repeat(is_bucket, sizes)]
    bucket = np.repeat(np.arange(int(is_bucket.sum())), sizes[is_bucket])
    # The fast sort is not stable, so sort equal keys by rank.
    return kept[np.lexsort((kept, bucket))], sizes[is_bucket]


def _encode_pairs(better: Ints, worse: Ints, count: int) -> Hashes:
    return better.astype(np.uint64) * np.uint64(count) + worse.astype(np.uint64)
