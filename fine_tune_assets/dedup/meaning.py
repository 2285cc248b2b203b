"""Semantic duplicates: reports that say the same in other words.

Owns the rule. The mean of a report's passages must be as near to the other's as the recipe asks; each passage of either
must have its like in the other, so that a new last page counts; and numbers, sides and the amount that is denied must agree,
which the encoder hardly sees. Measured in docs/decisions/0013. Does not know the encoder: it is handed a function.
"""

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.dedup.sketching import starts_of
from fine_tune_assets.dedup.words import Hashes, Ints
from fine_tune_assets.embeddings.encoder import Floats

PASSAGE_MARGIN = 0.15
"""How much less alike than the whole a single passage may be."""
FACTS_SHARED = 0.8
"""Share of the numbers and sides of both that both have, and of the words that say no."""
EXACT_UP_TO = 100_000
"""More texts are searched with an index that finds nearly all neighbours instead of all."""
NEIGHBOURS = 32
"""Of each text as many are verified at most, the best ranked ones."""
_ROUNDING = 1e-4
_BLOCK = 2048


def alike(means: Floats, threshold: float, exact_up_to: int = EXACT_UP_TO) -> tuple[Ints, NDArray[np.float64]]:
    """Pairs of rows (better first) with a cosine of at least `threshold`, and the cosine."""
    rows = _searched(means, threshold) if len(means) > exact_up_to else _compared(means, threshold)
    # Once more, pair by pair: a product of matrices rounds by its shape, and a pair must not depend on its neighbours.
    cosine = np.einsum("ij,ij->i", means[rows[:, 0]].astype(np.float64), means[rows[:, 1]].astype(np.float64))
    near = cosine >= threshold
    return rows[near], np.minimum(cosine[near], 1.0)


def passages_agree(pairs: Ints, vectors: Floats, counts: Ints, floor: float) -> NDArray[np.bool_]:
    """Whether every passage of either text has one in the other with a cosine of at least `floor`."""
    starts = starts_of(counts)

    def agree(one: int, other: int) -> bool:
        cosines = vectors[starts[one] : starts[one + 1]] @ vectors[starts[other] : starts[other + 1]].T
        return bool(min(cosines.max(axis=0).min(), cosines.max(axis=1).min()) >= floor)

    return np.array([agree(int(one), int(other)) for one, other in pairs], dtype=np.bool_)


def facts_agree(pairs: Ints, facts: Hashes, counts: Ints, negations: Ints) -> NDArray[np.bool_]:
    """Whether both texts state the same numbers and sides, and deny about as much."""
    starts = starts_of(counts)

    def agree(one: int, other: int) -> bool:
        mine, theirs = facts[starts[one] : starts[one + 1]], facts[starts[other] : starts[other + 1]]
        shared = len(np.intersect1d(mine, theirs, assume_unique=True))
        fewer, more = sorted((int(negations[one]), int(negations[other])))
        return shared >= FACTS_SHARED * (len(mine) + len(theirs) - shared) and fewer >= FACTS_SHARED * more

    return np.array([agree(int(one), int(other)) for one, other in pairs], dtype=np.bool_)


def _compared(means: Floats, threshold: float) -> Ints:
    """Every pair, block by block."""
    found = [np.zeros((0, 2), np.int64)]
    for at in range(0, len(means), _BLOCK):
        worse = means[at : at + _BLOCK]
        cosines = worse @ means[: at + len(worse)].T
        row, better = np.nonzero(cosines >= threshold - _ROUNDING)
        row += at
        is_before = better < row
        found.append(_best_ranked(row[is_before], better[is_before]))
    return np.concatenate(found)


def _searched(means: Floats, threshold: float) -> Ints:
    """The neighbours that an HNSW graph finds. One thread builds it, in order of rank: else it would differ from run to run."""
    from usearch.index import Index

    index = Index(ndim=means.shape[1], metric="cos", dtype="f32", expansion_search=128)
    index.add(np.arange(len(means)), means, threads=1)
    matches = index.search(means, NEIGHBOURS, threads=1)
    row, place = np.nonzero((1 - matches.distances >= threshold - _ROUNDING) & (matches.keys < len(means)))
    other = matches.keys[row, place].astype(np.int64)
    pairs = np.unique(np.stack((np.minimum(row, other), np.maximum(row, other)), axis=1), axis=0)
    return pairs[pairs[:, 0] != pairs[:, 1]]


def _best_ranked(worse: Ints, better: Ints) -> Ints:
    """At most NEIGHBOURS pairs of each worse row; both come sorted by row, then by rank."""
    first = np.searchsorted(worse, worse)
    is_kept = np.arange(len(worse)) - first < NEIGHBOURS
    return np.stack((better[is_kept], worse[is_kept]), axis=1)
