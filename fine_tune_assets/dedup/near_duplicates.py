"""Finds near duplicates: reports whose shingles outside boilerplate have a high Jaccard similarity.

Excludes boilerplate, computes signatures, proposes pairs by MinHash, and verifies the similarity of every proposed pair. Pairs
are compared in bulk by sorting 47 bits of each shingle's hash, which confuses two shingles once per billion pairs of notes. A
stored signature is reused while the same segments of its report are excluded.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.dedup.boilerplate import (
    find_boilerplate_segments,
    flag_boilerplate,
    remove_boilerplate,
    required_subjects,
)
from fine_tune_assets.dedup.corpus import Batch, Corpus
from fine_tune_assets.dedup.minhash import SEED, band_hashes, bands_for, candidate_pairs
from fine_tune_assets.dedup.sketch_store import BANDS
from fine_tune_assets.dedup.sketches import Sketches, flat_positions, offsets_from_counts
from fine_tune_assets.dedup.word_hashes import Hashes, Ints, sorted_unique
from fine_tune_assets.recipes.schema import DedupSettings

_BLOCK_SHINGLES = 4_000_000
_BLOCK_PAIRS = 1 << 16
_PAIR_SHIFT = np.uint64(48)
_HASH_BITS = np.uint64((1 << 48) - 2)


def jaccard_of_pairs(pairs: Ints, shingles: Hashes, counts: Ints) -> NDArray[np.float64]:
    """Return the similarity of each pair of rows, 0 to 1; `counts` has the number of shingles per text. Repeats count once.

    Two texts without shingles have similarity 0.
    """
    starts = offsets_from_counts(counts)
    similarities = np.zeros(len(pairs))
    for at, end in _blocks(counts[pairs[:, 0]] + counts[pairs[:, 1]]):
        similarities[at:end] = _jaccard(pairs[at:end], shingles, starts)
    return similarities


def distinct_shingles(shingles: Hashes, counts: Ints) -> tuple[Hashes, Ints]:
    """Return the compared 47 bits of each text's shingles, distinct and ascending, and their counts."""
    parts, distinct_counts = [], np.zeros(len(counts), np.int64)
    starts = offsets_from_counts(counts)
    for at in range(0, len(counts), _BLOCK_PAIRS):
        texts = np.arange(at, min(at + _BLOCK_PAIRS, len(counts)))
        keys = sorted_unique(_keys(texts, shingles, starts))
        distinct_counts[texts] = np.bincount((keys >> _PAIR_SHIFT).astype(np.int64), minlength=len(texts))
        parts.append((keys & _HASH_BITS) >> np.uint64(1))
    return np.concatenate(parts) if parts else shingles[:0], distinct_counts


def can_reach_threshold(pairs: Ints, counts: Ints, threshold: float) -> NDArray[np.bool_]:
    """False for pairs whose shingle counts alone rule out the threshold: shared ≤ smaller, all ≥ larger."""
    one, other = counts[pairs[:, 0]], counts[pairs[:, 1]]
    return np.minimum(one, other) >= threshold * np.maximum(one, other)  # type: ignore[no-any-return]


def share_of_smaller(jaccard: NDArray[np.float64], counts: Ints) -> NDArray[np.float64]:
    """Share of the smaller text's shingles that the larger one contains; `counts` is (pairs, 2)."""
    shared = jaccard * counts.sum(axis=1) / (1 + jaccard)
    return np.minimum(shared / np.maximum(counts.min(axis=1), 1), 1.0)


def _blocks(sizes: Ints) -> list[tuple[int, int]]:
    """Ranges of pairs that are computed at once."""
    parts, at, total = [], 0, np.cumsum(sizes)
    while at < len(sizes):
        before = total[at - 1] if at else 0
        end = int(np.searchsorted(total, before + _BLOCK_SHINGLES, side="right"))
        end = min(max(end, at + 1), at + _BLOCK_PAIRS)
        parts.append((at, end))
        at = end
    return parts


def _jaccard(pairs: Ints, shingles: Hashes, starts: Ints) -> NDArray[Any]:
    sides = [_keys(pairs[:, side], shingles, starts) | np.uint64(side) for side in (0, 1)]
    keys = sorted_unique(np.concatenate(sides))
    is_shared = (keys[1:] >> np.uint64(1)) == (keys[:-1] >> np.uint64(1))
    of_pair = (keys >> _PAIR_SHIFT).astype(np.int64)
    held = np.bincount(of_pair, minlength=len(pairs))
    shared = np.bincount(of_pair[1:][is_shared], minlength=len(pairs))
    union = held - shared
    return np.divide(shared, union, out=np.zeros(len(pairs)), where=union > 0)


def _keys(rows: Ints, shingles: Hashes, starts: Ints) -> Hashes:
    """Combine the pair's number and the shingle; the last bit is reserved for the side."""
    numbers = np.repeat(np.arange(len(rows), dtype=np.uint64), starts[rows + 1] - starts[rows])
    return (numbers << _PAIR_SHIFT) | ((shingles[flat_positions(starts, rows)] << np.uint64(1)) & _HASH_BITS)


MIN_SHINGLES = 10
"""With fewer shingles outside boilerplate, no similarity is clear."""
CLEAR_SIMILARITY = 0.8
"""A clear pair may differ in its boilerplate by a whole letterhead, and in its facts if the subject is the same."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of positions in a list of places, better one first."""

    rows: Ints
    """(pairs, 2)"""
    similarity: NDArray[np.float64]

    def where(self, flags: NDArray[np.bool_]) -> "Pairs":
        return Pairs(self.rows[flags], self.similarity[flags])


def find_boilerplate(corpus: Corpus, leaders: Ints, settings: DedupSettings) -> Hashes:
    """Return segments that many subjects share. Only leaders count, because exact copies do not make a template."""
    subjects = np.asarray(pc.dictionary_encode(corpus.facts["subject_key"].combine_chunks()).indices)
    needed = required_subjects(settings.boilerplate_subjects, int(subjects.max(initial=-1)) + 1)
    starts = offsets_from_counts(corpus.concatenate("segment_counts"))
    counts = np.diff(starts)[leaders]
    segments = corpus.concatenate("segments")[flat_positions(starts, leaders)]
    return find_boilerplate_segments(segments, np.repeat(subjects[leaders], counts), needed)


def find_near_pairs(
    corpus: Corpus,
    boilerplate: Hashes,
    places: Ints,
    settings: DedupSettings,
    threads: int,
    exhaustive_bucket_size: int,
) -> Pairs:
    """Near duplicates among the reports at `places`, which are sorted by rank."""
    bands, rows = bands_for(settings.near_threshold)
    hashes = np.zeros((len(places), bands), np.uint64)
    position = np.full(corpus.facts.num_rows, -1, np.int64)
    position[places] = np.arange(len(places))
    for batch, batch_places in corpus.batches_with_positions():
        is_selected = position[batch_places] >= 0
        hashes[position[batch_places][is_selected]] = _batch_bands(corpus, batch, boilerplate, bands, rows, threads)[
            is_selected
        ]
    pairs = candidate_pairs(hashes, exhaustive_bucket_size, threads)
    del hashes
    similarity = _similarities(corpus, boilerplate, places, pairs, settings.near_threshold)
    return Pairs(pairs, similarity).where(similarity >= settings.near_threshold)


def _batch_bands(corpus: Corpus, batch: Batch, boilerplate: Hashes, bands: int, rows: int, threads: int) -> Hashes:
    """(reports, bands) of a batch; recomputes only reports whose excluded boilerplate changed."""
    left_out = _boilerplate_digests(batch.sketches, boilerplate)
    version = combine([batch.version, str(bands), str(rows), str(SEED)])
    stored = corpus.store.read(batch.name, BANDS, version)
    if stored is not None and np.array_equal(stored["left_out"], left_out):
        return stored["bands"]
    is_new = np.ones(len(batch), np.bool_) if stored is None else stored["left_out"] != left_out
    shingles, counts = _shingles_outside_boilerplate(corpus.load_sketches(batch), boilerplate)
    changed = np.flatnonzero(is_new)
    computed = band_hashes(
        shingles[flat_positions(offsets_from_counts(counts), changed)], counts[changed], bands, rows, threads
    )
    hashes = computed if stored is None else stored["bands"].copy()
    hashes[changed] = computed
    corpus.computed["signatures"] += len(changed)
    corpus.store.write(batch.name, BANDS, version, {"bands": hashes, "left_out": left_out})
    return hashes


def _boilerplate_digests(sketches: Sketches, boilerplate: Hashes) -> Hashes:
    """Return one number per report that changes with its excluded segments."""
    flags = flag_boilerplate(sketches.segments, boilerplate)
    # A sum over the excluded segments of hash × position.
    values = np.where(flags, sketches.segments * (2 * np.arange(len(flags), dtype=np.uint64) + np.uint64(1)), 0)
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(values.astype(np.uint64), dtype=np.uint64)))
    return np.diff(sums[offsets_from_counts(sketches.segment_counts)])


def _similarities(
    corpus: Corpus, boilerplate: Hashes, places: Ints, pairs: Ints, threshold: float
) -> NDArray[np.float64]:
    """Return the similarity of each pair outside boilerplate; 0 for pairs that can't reach the threshold."""
    similarities = np.zeros(len(pairs))
    positions = np.unique(pairs)
    nothing = np.zeros(0, np.uint64)
    shingles, counts = _load_shingles(corpus, boilerplate, places[positions])
    rows = np.searchsorted(positions, pairs)
    likely = np.flatnonzero(can_reach_threshold(rows, counts, threshold))
    similarities[likely] = jaccard_of_pairs(rows[likely], shingles, counts)
    likely = np.flatnonzero(similarities >= threshold)
    if len(likely) and len(boilerplate):
        is_clear = (counts[rows[likely]].min(axis=1) >= MIN_SHINGLES) & (similarities[likely] >= CLEAR_SIMILARITY)
        positions = np.unique(pairs[likely])
        shingles, counts = _load_shingles(corpus, nothing, places[positions])
        rows = np.searchsorted(positions, pairs[likely])
        whole = jaccard_of_pairs(rows, shingles, counts)
        whole = np.where(is_clear, share_of_smaller(whole, counts[rows]), whole)
        similarities[likely] = np.minimum(similarities[likely], whole)
    return similarities


def _load_shingles(corpus: Corpus, boilerplate: Hashes, places: Ints) -> tuple[Hashes, Ints]:
    """Distinct shingles of the reports at `places`, in that order, and how many each has."""
    order = np.argsort(places)
    ordered = places[order]
    parts, counts = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for number, batch in enumerate(corpus.batches):
        first, end = corpus.starts[number], corpus.starts[number + 1]
        local = ordered[slice(*np.searchsorted(ordered, [first, end]))] - first
        if len(local):
            shingles, kept = _shingles_outside_boilerplate(corpus.load_sketches(batch), boilerplate)
            part, part_counts = distinct_shingles(
                shingles[flat_positions(offsets_from_counts(kept), local)], kept[local]
            )
            parts.append(part)
            counts.append(part_counts)
    shingles, in_order = np.concatenate(parts), np.concatenate(counts)
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return shingles[flat_positions(offsets_from_counts(in_order), back)], in_order[back]


def _shingles_outside_boilerplate(sketches: Sketches, boilerplate: Hashes) -> tuple[Hashes, Ints]:
    return remove_boilerplate(sketches, flag_boilerplate(sketches.segments, boilerplate))
