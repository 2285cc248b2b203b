"""Near duplicates: pairs of reports whose shingles outside of boilerplate are mostly the same (Jaccard).

The order of the work: boilerplate, signatures, buckets, then the true similarity of every proposed pair. MinHash only proposes.
Many pairs are compared at once by one sort of 47 bits of each shingle's hash, with which two different shingles of one pair of
notes are taken for the same once in a billion pairs. A kept signature is used again as long as the same segments of its report
are left out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.dedup.boilerplate import boilerplate_segments, is_among, patients_needed, without
from fine_tune_assets.dedup.corpus import Batch, Corpus
from fine_tune_assets.dedup.signatures import SEED, band_hashes, bands_for, candidate_pairs
from fine_tune_assets.dedup.sketches import Sketches, flat_places, starts_of
from fine_tune_assets.dedup.store import BANDS
from fine_tune_assets.dedup.words import Hashes, Ints, distinct
from fine_tune_assets.recipes.schema import DedupSettings

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


FEWEST_SHINGLES = 10
"""With fewer left after boilerplate, a text says too little by itself: then the whole texts must be near as well."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of positions in a list of places, the better one first."""

    rows: Ints
    """(pairs, 2)"""
    similarity: NDArray[np.float64]

    def where(self, flags: NDArray[np.bool_]) -> "Pairs":
        return Pairs(self.rows[flags], self.similarity[flags])


def find_boilerplate(corpus: Corpus, leaders: Ints, settings: DedupSettings) -> Hashes:
    """Segments that many patients share. Of reports with the same words only the leader counts: copies make no template."""
    patients = np.asarray(pc.dictionary_encode(corpus.facts["patient_key"].combine_chunks()).indices)
    needed = patients_needed(settings.boilerplate_patients, int(patients.max(initial=-1)) + 1)
    starts = starts_of(corpus.all_of("segment_counts"))
    counts = np.diff(starts)[leaders]
    segments = corpus.all_of("segments")[flat_places(starts, leaders)]
    return boilerplate_segments(segments, np.repeat(patients[leaders], counts), needed)


def near_pairs(
    corpus: Corpus,
    boilerplate: Hashes,
    places: Ints,
    settings: DedupSettings,
    threads: int,
    all_pairs_up_to: int,
) -> Pairs:
    """Near duplicates among the reports at `places`, which are in order of rank."""
    bands, rows = bands_for(settings.near_threshold)
    hashes = np.zeros((len(places), bands), np.uint64)
    position = np.full(corpus.facts.num_rows, -1, np.int64)
    position[places] = np.arange(len(places))
    for batch, own in corpus.with_places():
        is_asked = position[own] >= 0
        hashes[position[own][is_asked]] = _bands(corpus, batch, boilerplate, bands, rows, threads)[is_asked]
    pairs = candidate_pairs(hashes, all_pairs_up_to, threads)
    del hashes
    similarity = _similarities(corpus, boilerplate, places, pairs, settings.near_threshold)
    return Pairs(pairs, similarity).where(similarity >= settings.near_threshold)


def _bands(corpus: Corpus, batch: Batch, boilerplate: Hashes, bands: int, rows: int, threads: int) -> Hashes:
    """(reports, bands) of a batch, of which only those are computed that lost or gained boilerplate since."""
    left_out = _left_out(batch.sketches, boilerplate)
    version = combine([batch.version, str(bands), str(rows), str(SEED)])
    kept = corpus.kept.read(batch.name, BANDS, version)
    if kept is not None and np.array_equal(kept["left_out"], left_out):
        return kept["bands"]
    is_new = np.ones(len(batch), np.bool_) if kept is None else kept["left_out"] != left_out
    shingles, counts = _outside(corpus.whole_sketches(batch), boilerplate)
    changed = np.flatnonzero(is_new)
    made = band_hashes(shingles[flat_places(starts_of(counts), changed)], counts[changed], bands, rows, threads)
    hashes = made if kept is None else kept["bands"].copy()
    hashes[changed] = made
    corpus.made["signatures"] += len(changed)
    corpus.kept.write(batch.name, BANDS, version, {"bands": hashes, "left_out": left_out})
    return hashes


def _left_out(sketches: Sketches, boilerplate: Hashes) -> Hashes:
    """One number a report that changes with what is left out of it."""
    flags = is_among(sketches.segments, boilerplate)
    # A sum of the hashes of what is left out and of where it stands.
    values = np.where(flags, sketches.segments * (2 * np.arange(len(flags), dtype=np.uint64) + np.uint64(1)), 0)
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(values.astype(np.uint64), dtype=np.uint64)))
    return np.diff(sums[starts_of(sketches.segment_counts)])


def _similarities(
    corpus: Corpus, boilerplate: Hashes, places: Ints, pairs: Ints, threshold: float
) -> NDArray[np.float64]:
    """Of each pair, outside of boilerplate; of pairs that can't reach the threshold 0."""
    found = np.zeros(len(pairs))
    asked = np.unique(pairs)
    nothing = np.zeros(0, np.uint64)
    shingles, counts = _shingles_of(corpus, boilerplate, places[asked])
    own = np.searchsorted(asked, pairs)
    likely = np.flatnonzero(may_reach(own, counts, threshold))
    found[likely] = jaccard_of_pairs(own[likely], shingles, counts)
    short = np.flatnonzero((found >= threshold) & (counts[own].min(axis=1, initial=FEWEST_SHINGLES) < FEWEST_SHINGLES))
    if len(short) and len(boilerplate):
        asked = np.unique(pairs[short])
        whole, whole_counts = _shingles_of(corpus, nothing, places[asked])
        of_whole = jaccard_of_pairs(np.searchsorted(asked, pairs[short]), whole, whole_counts)
        found[short] = np.minimum(found[short], of_whole)
    return found


def _shingles_of(corpus: Corpus, boilerplate: Hashes, places: Ints) -> tuple[Hashes, Ints]:
    """Distinct shingles of the reports at `places`, in that order, and how many each has."""
    order = np.argsort(places)
    ordered = places[order]
    parts, counts = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for number, batch in enumerate(corpus.batches):
        first, end = corpus.starts[number], corpus.starts[number + 1]
        local = ordered[slice(*np.searchsorted(ordered, [first, end]))] - first
        if len(local):
            shingles, kept = _outside(corpus.whole_sketches(batch), boilerplate)
            part, part_counts = distinct_shingles(shingles[flat_places(starts_of(kept), local)], kept[local])
            parts.append(part)
            counts.append(part_counts)
    shingles, in_order = np.concatenate(parts), np.concatenate(counts)
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return shingles[flat_places(starts_of(in_order), back)], in_order[back]


def _outside(sketches: Sketches, boilerplate: Hashes) -> tuple[Hashes, Ints]:
    return without(sketches, is_among(sketches.segments, boilerplate))
