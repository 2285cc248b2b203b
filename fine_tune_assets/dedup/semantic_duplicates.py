"""Finds semantic duplicates: reports that say the same in other words.

The mean vectors of both reports must reach the recipe's similarity. Each passage needs a counterpart in the other report, so a
new last page counts. Numbers, sides and the number of negations must agree, because encoders hardly see them (measured in
docs/decisions/0005-duplicates.md). Encodes reports without boilerplate, and reuses vectors of the same text. The encoder is
passed in.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fine_tune_assets.dedup.boilerplate import flag_boilerplate
from fine_tune_assets.dedup.corpus import Batch, Corpus
from fine_tune_assets.dedup.near_duplicates import Pairs
from fine_tune_assets.dedup.sketch_store import VECTORS, Arrays, text_digests
from fine_tune_assets.dedup.sketches import flat_positions, offsets_from_counts
from fine_tune_assets.dedup.word_hashes import Hashes, Ints, remove_segments
from fine_tune_assets.embeddings.encoder import Encode, Floats, mean_vectors

PASSAGE_MARGIN = 0.15
"""How far below the whole-text threshold the similarity of a single passage may be."""
MIN_SHARED_FACTS = 0.8
"""Minimum share of numbers and sides, and of negation words, that both texts have in common."""
EXACT_SEARCH_LIMIT = 100_000
"""Larger sets use an approximate index, which misses some neighbours."""
MAX_NEIGHBOURS = 32
"""Maximum number of best-ranked neighbours verified per text."""
_ROUNDING = 1e-4
_BLOCK_TEXTS = 2048


def similar_pairs(
    means: Floats, threshold: float, exact_search_limit: int = EXACT_SEARCH_LIMIT
) -> tuple[Ints, NDArray[np.float64]]:
    """Pairs of rows (better one first) with a cosine of at least `threshold`, and the cosine."""
    rows = _search_index(means, threshold) if len(means) > exact_search_limit else _search_exactly(means, threshold)
    # Recompute pair by pair: matrix products round depending on their shape, and a pair must not depend on its neighbours.
    cosine = np.einsum("ij,ij->i", means[rows[:, 0]].astype(np.float64), means[rows[:, 1]].astype(np.float64))
    near = cosine >= threshold
    return rows[near], np.minimum(cosine[near], 1.0)


def check_passages_agree(pairs: Ints, vectors: Floats, counts: Ints, floor: float) -> NDArray[np.bool_]:
    """Whether every passage of either text has a counterpart in the other with a cosine of at least `floor`."""
    starts = offsets_from_counts(counts)

    def agree(one: int, other: int) -> bool:
        cosines = vectors[starts[one] : starts[one + 1]] @ vectors[starts[other] : starts[other + 1]].T
        return bool(min(cosines.max(axis=0).min(), cosines.max(axis=1).min()) >= floor)

    return np.array([agree(int(one), int(other)) for one, other in pairs], dtype=np.bool_)


def check_facts_agree(pairs: Ints, facts: Hashes, counts: Ints, negations: Ints) -> NDArray[np.bool_]:
    """Whether both texts state the same numbers and sides and a similar number of negations."""
    starts = offsets_from_counts(counts)

    def agree(one: int, other: int) -> bool:
        mine, theirs = facts[starts[one] : starts[one + 1]], facts[starts[other] : starts[other + 1]]
        shared = len(np.intersect1d(mine, theirs, assume_unique=True))
        fewer, more = sorted((int(negations[one]), int(negations[other])))
        return shared >= MIN_SHARED_FACTS * (len(mine) + len(theirs) - shared) and fewer >= MIN_SHARED_FACTS * more

    return np.array([agree(int(one), int(other)) for one, other in pairs], dtype=np.bool_)


def _search_exactly(means: Floats, threshold: float) -> Ints:
    """Compare all pairs, block by block."""
    pairs = [np.zeros((0, 2), np.int64)]
    for at in range(0, len(means), _BLOCK_TEXTS):
        worse = means[at : at + _BLOCK_TEXTS]
        cosines = worse @ means[: at + len(worse)].T
        row, better = np.nonzero(cosines >= threshold - _ROUNDING)
        row += at
        is_before = better < row
        pairs.append(_best_ranked(row[is_before], better[is_before]))
    return np.concatenate(pairs)


def _search_index(means: Floats, threshold: float) -> Ints:
    """Find neighbours in an HNSW graph. A single thread builds it in order of rank, so that runs are reproducible."""
    from usearch.index import Index

    index = Index(ndim=means.shape[1], metric="cos", dtype="f32", expansion_search=128)
    index.add(np.arange(len(means)), means, threads=1)
    matches = index.search(means, MAX_NEIGHBOURS, threads=1)
    row, place = np.nonzero((1 - matches.distances >= threshold - _ROUNDING) & (matches.keys < len(means)))
    other = matches.keys[row, place].astype(np.int64)
    pairs = np.unique(np.stack((np.minimum(row, other), np.maximum(row, other)), axis=1), axis=0)
    return pairs[pairs[:, 0] != pairs[:, 1]]


def _best_ranked(worse: Ints, better: Ints) -> Ints:
    """At most MAX_NEIGHBOURS pairs per worse row; both inputs are sorted by row, then rank."""
    first = np.searchsorted(worse, worse)
    is_kept = np.arange(len(worse)) - first < MAX_NEIGHBOURS
    return np.stack((better[is_kept], worse[is_kept]), axis=1)


MIN_WORDS = 20
"""Shorter remainders after removal of boilerplate are not encoded: `unchanged` alone says too little."""
TextsAt = Callable[[Ints], pa.Array]
"""Returns the texts at some places of the corpus."""


def find_semantic_pairs(
    corpus: Corpus,
    boilerplate: Hashes,
    places: Ints,
    texts_at: TextsAt,
    threshold: float,
    encode: Encode,
    encoder_version: str,
) -> Pairs:
    """Semantic duplicates among the reports at `places`, which are sorted by rank."""
    position = np.full(corpus.facts.num_rows, -1, np.int64)
    position[places] = np.arange(len(places))
    means: list[Floats] = []
    rows: list[Ints] = []
    for batch, batch_places in corpus.batches_with_positions():
        selected = batch_places[position[batch_places] >= 0]
        texts, is_comparable = _comparable_texts(
            batch, boilerplate, selected - batch_places[0] if len(batch_places) else selected, texts_at(selected)
        )
        comparable = [text for text, ok in zip(texts, is_comparable, strict=True) if ok]
        arrays = _batch_vectors(corpus, batch, comparable, encode, encoder_version)
        means.append(mean_vectors(arrays["vectors"], arrays["counts"]))
        rows.append(position[selected[is_comparable]])
    return _pairs(corpus, places, means, rows, encoder_version, threshold)


def _comparable_texts(
    batch: Batch, boilerplate: Hashes, local: Ints, texts: pa.Array
) -> tuple[list[str], NDArray[np.bool_]]:
    """Remove boilerplate; also return which texts are long enough for semantic comparison."""
    starts = offsets_from_counts(batch.sketches.segment_counts)
    flags = flag_boilerplate(batch.sketches.segments[flat_positions(starts, local)], boilerplate)
    remaining = remove_segments(texts.to_pylist(), flags)
    lost = (
        np.add.reduceat(np.append(flags, False).astype(int), offsets_from_counts(np.diff(starts)[local])[:-1])
        if len(local)
        else local
    )
    lost = np.where(np.diff(starts)[local] > 0, lost, 0)
    words = np.array([len(text.split()) for text in remaining], dtype=np.int64)
    return remaining, (words > 0) & ((lost == 0) | (words >= MIN_WORDS))


def _batch_vectors(corpus: Corpus, batch: Batch, texts: list[str], encode: Encode, version: str) -> Arrays:
    """Return `vectors` and `counts` of the texts; encodes only new ones and removes stored ones that are no longer needed."""
    digests = text_digests(texts)
    stored = corpus.store.read(batch.name, VECTORS, version)
    known = {} if stored is None else {bytes(row): place for place, row in enumerate(stored["texts"])}
    places = np.array([known.get(bytes(row), -1) for row in digests], dtype=np.int64)
    missing = np.flatnonzero(places < 0)
    if stored is not None and np.array_equal(stored["texts"], digests):
        return stored
    vectors, counts = encode([texts[i] for i in missing])
    corpus.computed["vectors"] += len(missing)
    if stored is not None:
        vectors, counts = np.concatenate((stored["vectors"], vectors)), np.concatenate((stored["counts"], counts))
        places = np.where(places < 0, len(stored["counts"]) + np.cumsum(places < 0) - 1, places)
    else:
        places = np.arange(len(texts))
    arrays: Arrays = {
        "vectors": vectors[flat_positions(offsets_from_counts(counts), places)],
        "counts": counts[places],
        "texts": digests,
    }
    corpus.store.write(batch.name, VECTORS, version, arrays)
    return arrays


def _load_passages(corpus: Corpus, version: str, texts: Sequence[int], numbers: Ints) -> tuple[Floats, Ints]:
    """Return passage vectors and counts for the given ascending text numbers, counted over all batches.

    `texts`: number of texts with vectors per batch. Vectors stay on disk, because a million reports have several gigabytes of
    them.
    """
    starts = offsets_from_counts(np.array(texts, dtype=np.int64))
    vectors: list[Floats] = []
    counts: list[Ints] = [np.zeros(0, np.int64)]
    for number, batch in enumerate(corpus.batches):
        first, end = starts[number], starts[number + 1]
        local = numbers[slice(*np.searchsorted(numbers, [first, end]))] - first
        if len(local):
            arrays = corpus.load_arrays(batch, VECTORS, version)
            vectors.append(arrays["vectors"][flat_positions(offsets_from_counts(arrays["counts"]), local)])
            counts.append(arrays["counts"][local].astype(np.int64))
    return np.concatenate(vectors or [np.zeros((0, 1), np.float32)]), np.concatenate(counts)


def _pairs(
    corpus: Corpus, places: Ints, of_batches: list[Floats], ranks_of: list[Ints], version: str, threshold: float
) -> Pairs:
    """`ranks_of`: for each batch, the rank of each text that has vectors."""
    rows = np.concatenate(ranks_of)
    if not len(rows):
        return Pairs(np.zeros((0, 2), np.int64), np.zeros(0))
    order = np.argsort(rows)
    pairs, cosine = similar_pairs(_rank_means(of_batches, order), threshold)
    ranks = rows[order]
    facts, fact_counts = corpus.concatenate("facts"), corpus.concatenate("fact_counts")
    agree = check_facts_agree(places[ranks[pairs]], facts, fact_counts, corpus.concatenate("negations"))
    pairs, cosine = pairs[agree], cosine[agree]
    selected = np.unique(order[pairs])
    vectors, counts = _load_passages(corpus, version, [len(ranks) for ranks in ranks_of], selected)
    agree = check_passages_agree(np.searchsorted(selected, order[pairs]), vectors, counts, threshold - PASSAGE_MARGIN)
    return Pairs(ranks[pairs[agree]], cosine[agree])


def _rank_means(of_batches: list[Floats], order: Ints) -> Floats:
    """Combine all means in order of rank. Each batch is released after it is copied."""
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    means = np.empty((len(order), of_batches[0].shape[1]), np.float32)
    at = 0
    while of_batches:
        part = of_batches.pop(0)
        means[back[at : at + len(part)]] = part
        at += len(part)
    return means
