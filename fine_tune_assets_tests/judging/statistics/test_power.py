"""The number of examples that a comparison needs."""

import math

import numpy as np
import pytest

from fine_tune_assets.judging.statistics.binary_pairs import BinaryPairs, score_interval
from fine_tune_assets.judging.statistics.paired_differences import compare_means
from fine_tune_assets.judging.statistics.power import (
    estimate_power,
    examples_needed,
    intra_subject_correlation,
    items_needed,
)
from fine_tune_assets.recipes.error_levels import ALPHA


def _means(subjects: int, per_subject: int, shared: float, seed: int = 5) -> "object":
    random = np.random.default_rng(seed)
    values = [
        shared * subject_value + math.sqrt(1 - shared**2) * random.normal()
        for subject_value in random.normal(size=subjects)
        for _ in range(per_subject)
    ]
    return compare_means(values, [f"p{i // per_subject}" for i in range(subjects * per_subject)])


def test_twice_the_spread_needs_four_times_the_examples() -> None:
    """Installations plan their test split by this number."""
    narrow = compare_means([1.0, -1.0] * 100, [f"p{i}" for i in range(200)])
    wide = compare_means([2.0, -2.0] * 100, [f"p{i}" for i in range(200)])
    few, many = examples_needed(narrow, 0.25), examples_needed(wide, 0.25)
    assert few is not None
    assert many is not None
    # (1.96 + 1.13)² / 0.25² = 152.5, plus a little because the spread is estimated.
    assert 153 <= few <= 157
    assert many == pytest.approx(4 * few, abs=12)


def test_examples_of_the_same_subjects_carry_less_information() -> None:
    """Their differences correlate, so that more examples are needed."""
    apart, together = _means(400, 1, 0.7), _means(100, 4, 0.7)
    needed = [examples_needed(means, 0.3) for means in (apart, together)]  # type: ignore[arg-type]
    assert needed[0] is not None
    assert needed[1] is not None
    assert needed[1] > 1.6 * needed[0]
    assert intra_subject_correlation(together) == pytest.approx(0.49, abs=0.12)  # type: ignore[arg-type]
    assert intra_subject_correlation(apart) is None  # type: ignore[arg-type]


def test_the_present_examples_are_enough_for_the_detectable_gain() -> None:
    means = _means(60, 2, 0.5)
    power = estimate_power(means, 0.5, 0.1, ALPHA)  # type: ignore[arg-type]
    assert power.detectable_gain is not None
    assert examples_needed(means, power.detectable_gain - 0.1) == pytest.approx(120, abs=2)  # type: ignore[arg-type]


def test_without_a_spread_the_needed_number_is_missing() -> None:
    """With one subject, or without a comparison."""
    assert estimate_power(None, 0.5, 0.0, ALPHA).needed_examples is None
    assert estimate_power(compare_means([1.0], ["p"]), 0.5, 0.0, ALPHA).needed_examples is None


def test_the_needed_items_show_that_nothing_is_lost() -> None:
    """Also if no pair differs, because that interval has a width too."""
    for pairs in (BinaryPairs(25, 0, 0), BinaryPairs(100, 5, 5)):
        items = items_needed(pairs, 0.1)
        assert items is not None
        share = (pairs.worse + pairs.better) / 2 / pairs.items
        assert score_interval(BinaryPairs(items, share * items, share * items))[0] > -0.1
    assert items_needed(BinaryPairs(25, 0, 0), 0.0) is None
