"""MinHash signatures, cut into bands: two texts with an equal band are worth comparing.

Owns the permutations and the choice of bands. What is kept of a signature is one hash a band, enough to propose pairs; the
similarity itself is computed of the shingles. numpy does it for a block of texts at once, about as fast as rensa
once that one's rows are an array: 59,000 against 53,000 texts of 250 shingles a second and core, 192 permutations.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.dedup.sketching import starts_of
from fine_tune_assets.dedup.words import Hashes, Ints, mixed

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
