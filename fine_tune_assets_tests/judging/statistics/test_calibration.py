"""The map to the human scale, and the measures of agreement."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from fine_tune_assets.judging.statistics.association import (
    apply_knots,
    bootstrap_interval,
    fit_knots,
    partial_spearman,
    pin_ends,
    spearman,
)

PAIRS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), min_size=1, max_size=40)


@settings(deadline=None)  # the first call imports scipy
@given(PAIRS, st.randoms(use_true_random=False))
def test_calibration_preserves_order_and_ignores_the_order_of_rows(
    pairs: list[tuple[int, int]], random: object
) -> None:
    """A higher raw grade never gets a lower calibrated grade, and shuffled rows give the same map."""
    raw, human = zip(*pairs, strict=True)
    knots = fit_knots(raw, human)
    grades = apply_knots(np.array(sorted(raw), float), knots)
    assert (np.diff(grades) >= 0).all()
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fit_knots(*zip(*shuffled, strict=True)) == knots


def test_a_pinned_map_is_strictly_increasing() -> None:
    """A constant section would hide a difference between two models."""
    knots = pin_ends(fit_knots([1, 2, 3, 4], [2.0, 6.0, 5.0, 8.0]), (0.0, 1.0), (5.0, 10.0))
    grades = apply_knots(np.linspace(0, 5, 11), knots)
    assert (np.diff(grades) > 0).all()
    assert (grades[0], grades[-1]) == (1.0, 10.0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 10), st.sampled_from([1.0, 2.5, 2.5, 7.0, 9.75])), min_size=3))
def test_the_rank_correlation_is_scipys(pairs: list[tuple[int, float]]) -> None:
    """Our own implementation only avoids the slow import of scipy."""
    first, second = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    found = spearman(first, second)
    if len(set(first)) > 1 and len(set(second)) > 1:
        assert found == pytest.approx(spearmanr(first, second).statistic, abs=1e-9)
    else:
        assert math.isnan(found)


def test_partial_correlation_removes_the_effect_of_length() -> None:
    """Here, grade and rating depend on the length only."""
    random = np.random.default_rng(1)
    length = random.normal(size=2000)
    grade, rating = length + random.normal(size=2000), length + random.normal(size=2000)
    assert spearman(grade, rating) > 0.4
    assert partial_spearman(grade, rating, length) == pytest.approx(0.0, abs=0.06)


def test_answers_about_one_text_are_resampled_together() -> None:
    """Four copies of each row carry no more information than one."""
    random = np.random.default_rng(2)
    a = random.normal(size=30)
    b = a + random.normal(size=30)
    once = bootstrap_interval(lambda i: spearman(a[i], b[i]), [str(n) for n in range(30)])
    a4, b4 = np.repeat(a, 4), np.repeat(b, 4)
    copied = bootstrap_interval(lambda i: spearman(a4[i], b4[i]), [str(n // 4) for n in range(120)])
    assert once is not None
    assert copied is not None
    assert copied.high - copied.low == pytest.approx(once.high - once.low, abs=0.1)


def test_an_undefined_statistic_has_no_interval() -> None:
    same = np.ones(5)
    assert bootstrap_interval(lambda i: spearman(same[i], same[i]), list("abcde")) is None
    assert bootstrap_interval(lambda i: float(i.mean()), []) is None
