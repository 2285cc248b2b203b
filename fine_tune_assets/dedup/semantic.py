"""Semantic duplicates among the reports of a corpus: embeds what was not embedded yet, and applies the rule of `meaning`.

Owns which text is embedded (the report without its boilerplate) and which vectors are used again: those of exactly that
text. Does not know the rule.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fine_tune_assets.dedup.boilerplate import is_among
from fine_tune_assets.dedup.corpus import Batch, Corpus
from fine_tune_assets.dedup.meaning import PASSAGE_MARGIN, alike, facts_agree, passages_agree
from fine_tune_assets.dedup.near import Pairs
from fine_tune_assets.dedup.sketching import flat_places, starts_of
from fine_tune_assets.dedup.store import VECTORS, Arrays, text_digests
from fine_tune_assets.dedup.words import Hashes, Ints, remaining_texts
from fine_tune_assets.embeddings.encoder import Encode, Floats, means_of

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
