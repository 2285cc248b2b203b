"""Semantic duplicates: reports that say the same in other words.

The mean of a report's passages must be as near to the other's as the recipe asks; each passage of either must have its like in
the other, so that a new last page counts; and numbers, sides and the amount that is denied must agree, which the encoder hardly
sees. Measured in docs/decisions/0013. Embedded is the report without its boilerplate; vectors of exactly that text are used
again. Does not know the encoder: it takes a function.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fine_tune_assets.dedup.boilerplate import is_among
from fine_tune_assets.dedup.corpus import Batch, Corpus
from fine_tune_assets.dedup.near import Pairs
from fine_tune_assets.dedup.sketches import flat_places, starts_of
from fine_tune_assets.dedup.store import VECTORS, Arrays, text_digests
from fine_tune_assets.dedup.words import Hashes, Ints, remaining_texts
from fine_tune_assets.embeddings.encoder import Encode, Floats, means_of

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


FEWEST_WORDS = 20
"""A text that lost boilerplate and has fewer words left is compared by its words only: `unchanged` says too little."""
TextsAt = Callable[[Ints], pa.Array]
"""The texts at some places of the corpus."""


def semantic_pairs(
    corpus: Corpus,
    boilerplate: Hashes,
    places: Ints,
    texts_at: TextsAt,
    threshold: float,
    encode: Encode,
    encoder_version: str,
) -> Pairs:
    """Semantic duplicates among the reports at `places`, which are in order of rank."""
    position = np.full(corpus.facts.num_rows, -1, np.int64)
    position[places] = np.arange(len(places))
    means: list[Floats] = []
    rows: list[Ints] = []
    for batch, own in corpus.with_places():
        asked = own[position[own] >= 0]
        texts, is_told = _told(batch, boilerplate, asked - own[0] if len(own) else asked, texts_at(asked))
        told = [text for text, ok in zip(texts, is_told, strict=True) if ok]
        arrays = _vectors(corpus, batch, told, encode, encoder_version)
        means.append(means_of(arrays["vectors"], arrays["counts"]))
        rows.append(position[asked[is_told]])
    return _pairs(corpus, places, means, rows, encoder_version, threshold)


def _told(batch: Batch, boilerplate: Hashes, local: Ints, texts: pa.Array) -> tuple[list[str], NDArray[np.bool_]]:
    """The texts without boilerplate, and which of them say enough to be compared by their meaning."""
    starts = starts_of(batch.sketches.segment_counts)
    flags = is_among(batch.sketches.segments[flat_places(starts, local)], boilerplate)
    remaining = remaining_texts(texts.to_pylist(), flags)
    lost = (
        np.add.reduceat(np.append(flags, False).astype(int), starts_of(np.diff(starts)[local])[:-1])
        if len(local)
        else local
    )
    lost = np.where(np.diff(starts)[local] > 0, lost, 0)
    words = np.array([len(text.split()) for text in remaining], dtype=np.int64)
    return remaining, (words > 0) & ((lost == 0) | (words >= FEWEST_WORDS))


def _vectors(corpus: Corpus, batch: Batch, texts: list[str], encode: Encode, version: str) -> Arrays:
    """`vectors` and `counts` of the texts, of which only those are encoded that were not yet. Only theirs stay stored."""
    digests = text_digests(texts)
    kept = corpus.kept.read(batch.name, VECTORS, version)
    known = {} if kept is None else {bytes(row): place for place, row in enumerate(kept["texts"])}
    places = np.array([known.get(bytes(row), -1) for row in digests], dtype=np.int64)
    missing = np.flatnonzero(places < 0)
    if kept is not None and np.array_equal(kept["texts"], digests):
        return kept
    vectors, counts = encode([texts[i] for i in missing])
    corpus.made["vectors"] += len(missing)
    if kept is not None:
        vectors, counts = np.concatenate((kept["vectors"], vectors)), np.concatenate((kept["counts"], counts))
        places = np.where(places < 0, len(kept["counts"]) + np.cumsum(places < 0) - 1, places)
    else:
        places = np.arange(len(texts))
    arrays: Arrays = {
        "vectors": vectors[flat_places(starts_of(counts), places)],
        "counts": counts[places],
        "texts": digests,
    }
    corpus.kept.write(batch.name, VECTORS, version, arrays)
    return arrays


def _passages_of(corpus: Corpus, version: str, texts: Sequence[int], numbers: Ints) -> tuple[Floats, Ints]:
    """Of the texts with these ascending numbers, counted through all batches: the vectors of their passages, and how many each
    has. `texts`: of each batch how many have vectors. These stay where they are kept: of a million reports they are several
    gigabytes."""
    starts = starts_of(np.array(texts, dtype=np.int64))
    vectors: list[Floats] = []
    counts: list[Ints] = [np.zeros(0, np.int64)]
    for number, batch in enumerate(corpus.batches):
        first, end = starts[number], starts[number + 1]
        local = numbers[slice(*np.searchsorted(numbers, [first, end]))] - first
        if len(local):
            arrays = corpus.read_kept(batch, VECTORS, version)
            vectors.append(arrays["vectors"][flat_places(starts_of(arrays["counts"]), local)])
            counts.append(arrays["counts"][local].astype(np.int64))
    return np.concatenate(vectors or [np.zeros((0, 1), np.float32)]), np.concatenate(counts)


def _pairs(
    corpus: Corpus, places: Ints, of_batches: list[Floats], ranks_of: list[Ints], version: str, threshold: float
) -> Pairs:
    """`ranks_of`: of each batch the rank of each text that has vectors."""
    rows = np.concatenate(ranks_of)
    if not len(rows):
        return Pairs(np.zeros((0, 2), np.int64), np.zeros(0))
    order = np.argsort(rows)
    pairs, cosine = alike(_in_order(of_batches, order), threshold)
    ranks = rows[order]
    facts, fact_counts = corpus.all_of("facts"), corpus.all_of("fact_counts")
    agree = facts_agree(places[ranks[pairs]], facts, fact_counts, corpus.all_of("negations"))
    pairs, cosine = pairs[agree], cosine[agree]
    asked = np.unique(order[pairs])
    vectors, counts = _passages_of(corpus, version, [len(ranks) for ranks in ranks_of], asked)
    agree = passages_agree(np.searchsorted(asked, order[pairs]), vectors, counts, threshold - PASSAGE_MARGIN)
    return Pairs(ranks[pairs[agree]], cosine[agree])


def _in_order(of_batches: list[Floats], order: Ints) -> Floats:
    """All means in order of rank. Each batch is let go when it was copied."""
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    means = np.empty((len(order), of_batches[0].shape[1]), np.float32)
    at = 0
    while of_batches:
        part = of_batches.pop(0)
        means[back[at : at + len(part)]] = part
        at += len(part)
    return means
