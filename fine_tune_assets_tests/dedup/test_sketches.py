"""Signatures, buckets and similarity keep their promises."""

import numpy as np
import pyarrow as pa
import pytest

from fine_tune_assets.dedup.boilerplate import remove_boilerplate, required_subjects
from fine_tune_assets.dedup.minhash import (
    LEADERS,
    MAX_CROWDED_PAIRS,
    MAX_MISS_RATE,
    NEIGHBOURS,
    PERMUTATIONS,
    band_hashes,
    bands_for,
    candidate_pairs,
)
from fine_tune_assets.dedup.near_duplicates import distinct_shingles, jaccard_of_pairs
from fine_tune_assets.dedup.semantic_duplicates import similar_pairs
from fine_tune_assets.dedup.sketches import sketch_texts


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.9, 1.0])
def test_bands_propose_nearly_every_pair_at_the_threshold(threshold: float) -> None:
    """A pair that is never proposed is never verified."""
    bands, rows = bands_for(threshold)
    assert bands * rows <= PERMUTATIONS
    assert (1 - threshold**rows) ** bands <= MAX_MISS_RATE


def test_the_rate_of_equal_bands_is_the_similarity() -> None:
    """At Jaccard 0.6, a one-row band is equal in 60 of 100 cases, so the permutations are fair."""
    rng = np.random.default_rng(0)
    shared = rng.integers(0, 2**63, (200, 150), dtype=np.uint64)
    distinct = rng.integers(0, 2**63, (400, 50), dtype=np.uint64)
    texts = np.concatenate((np.repeat(shared, 2, axis=0), distinct), axis=1)
    bands = band_hashes(texts.ravel(), np.full(400, 200), 128, 1)
    assert np.mean(bands[0::2] == bands[1::2]) == pytest.approx(0.6, abs=0.01)


def test_a_text_without_shingles_is_in_no_bucket() -> None:
    bands = band_hashes(np.array([5, 6], np.uint64), np.array([0, 2, 0, 0]), 4, 2)
    assert (bands[[0, 2, 3]] == 0).all()
    assert len(candidate_pairs(bands)) == 0


def test_every_pair_of_a_small_bucket_is_proposed_better_one_first() -> None:
    bands = np.array([[1, 9], [2, 8], [1, 8], [3, 9]], np.uint64)
    assert candidate_pairs(bands).tolist() == [[0, 2], [0, 3], [1, 2]]
    assert candidate_pairs(bands, threads=2).tolist() == [[0, 2], [0, 3], [1, 2]]


def test_the_cost_of_a_large_bucket_is_linear() -> None:
    """A header that is not recognized as boilerplate must not make the comparison quadratic."""
    pairs = candidate_pairs(np.ones((10_000, 2), np.uint64))
    assert len(pairs) <= (LEADERS + NEIGHBOURS) * 10_000
    worse = set(pairs[:, 1].tolist())
    assert worse == set(range(1, 10_000))
    assert [0, 9_999] in pairs[pairs[:, 1] == 9_999].tolist()


def test_crowded_buckets_keep_the_pairs_with_most_bands() -> None:
    """Two copies in a crowd share nearly all bands, other pairs few."""
    rng = np.random.default_rng(0)
    bands = rng.integers(1, 4, (1_200, 40), dtype=np.uint64)
    bands[1_100] = bands[1_108]
    pairs = candidate_pairs(bands)
    assert np.bincount(pairs[:, 1]).max() == MAX_CROWDED_PAIRS
    assert [1_100, 1_108] in pairs.tolist()


def test_similarity_is_computed_over_sets() -> None:
    texts = ["a b c d e", "a b c d f", "x y", "x y", "", "", "a b c a b c a b c"]
    sketches = sketch_texts(pa.array(texts))
    pairs = np.array([[0, 1], [2, 3], [4, 5], [0, 6], [0, 2]])
    expected = [2 / 4, 1.0, 0.0, 1 / 5, 0.0]
    _, counts = remove_boilerplate(sketches, np.zeros(len(sketches.segments), np.bool_))
    assert jaccard_of_pairs(pairs, sketches.shingles, counts).tolist() == pytest.approx(expected, abs=1e-12)
    assert distinct_shingles(sketches.shingles, counts)[1].tolist() == [3, 3, 1, 1, 0, 0, 3]


@pytest.mark.parametrize(("subjects", "required"), [(3, 10), (900, 10), (5_000, 50), (1_000_000, 100)])
def test_boilerplate_requires_ten_subjects_then_one_percent_then_a_hundred(subjects: int, required: int) -> None:
    assert required_subjects(10, subjects) == required


def test_the_approximate_index_finds_nearly_all_pairs() -> None:
    """Large sets are searched approximately, which must find at least 99 of 100 pairs here."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(1_000, 384))
    means = np.concatenate((base, base + 0.3 * rng.normal(size=base.shape))).astype(np.float32)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    exact = {tuple(pair) for pair in similar_pairs(means, 0.9)[0].tolist()}
    approximate = {tuple(pair) for pair in similar_pairs(means, 0.9, exact_search_limit=0)[0].tolist()}
    assert len(exact) >= 990
    assert approximate <= exact
    assert len(approximate) >= 0.99 * len(exact)
