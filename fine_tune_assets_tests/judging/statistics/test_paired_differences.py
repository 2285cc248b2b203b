"""Properties of the interval of a mean difference."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.judging.statistics.paired_differences import adjust_holm, compare_means
from fine_tune_assets.recipes.error_levels import ALPHA

DIFFERENCES = st.lists(st.integers(-36, 36).map(lambda quarter: quarter / 4), min_size=6, max_size=30)


def _subjects(count: int, per_subject: int = 1) -> list[str]:
    return [f"p{i // per_subject}" for i in range(count)]


@given(DIFFERENCES, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_order_of_examples_changes_nothing(differences: list[float], random: object) -> None:
    """A verdict's id is the fingerprint of its metrics, so another order must not make another verdict."""
    pairs = [(d / 3, p) for d, p in zip(differences, _subjects(len(differences), 2), strict=True)]
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = (compare_means([d for d, _ in some], [p for _, p in some]) for some in (pairs, shuffled))
    assert (one.value, one.low, one.high, one.standard_error) == (
        other.value,
        other.low,
        other.high,
        other.standard_error,
    )


@given(DIFFERENCES, st.integers(0, 29), st.integers(1, 36))
@settings(max_examples=60, deadline=None)
def test_a_grade_that_gets_worse_never_looks_better(differences: list[float], place: int, quarters: int) -> None:
    """A studentized interval could be narrowed by making the grades more similar."""
    worse = list(differences)
    worse[place % len(worse)] -= quarters / 4
    before, after = (compare_means(d, _subjects(len(d), 2)) for d in (differences, worse))
    assert after.p_value_above(0.0) >= before.p_value_above(0.0)
    assert after.p_value_below(-1.0) <= before.p_value_below(-1.0)
    if before.low is not None and after.low is not None and before.high is not None and after.high is not None:
        assert after.low <= before.low
        assert after.high <= before.high


@given(DIFFERENCES, st.integers(-8, 8).map(lambda quarter: quarter / 4 + 0.01))
@settings(max_examples=60, deadline=None)
def test_interval_and_p_value_agree(differences: list[float], bound: float) -> None:
    """Otherwise a metric could pass by one and fail by the other."""
    means = compare_means(differences, _subjects(len(differences)))
    if means.low is not None and means.high is not None:
        assert (means.p_value_above(bound) <= ALPHA) == (means.low > bound)
        assert (means.p_value_below(bound) <= ALPHA) == (means.high < bound)


def test_the_interval_inverts_the_sign_flip_test() -> None:
    """Compared with all 1,024 sign flips for ten subjects at three bounds; the p-value doubles with few subjects."""
    values = np.array([1.4, 0.2, -0.7, 2.2, 0.9, 1.1, -0.3, 0.6, 1.9, 0.4])
    means = compare_means(values.tolist(), _subjects(10))
    for bound in (-0.2, 0.0, 0.4):
        shifted = values - bound
        flips = np.array(list(product((1, -1), repeat=10)))
        exact = float(np.mean(flips @ shifted >= shifted.sum() - 1e-12))
        assert means.p_value_above(bound) == pytest.approx(min(1.0, 2 * exact), abs=0.02)


def test_examples_of_one_subject_count_together() -> None:
    """Four identical examples for each of ten subjects are ten observations, not forty."""
    ten = [1.0, -1.5, 2.0, 0.5, -0.5, 1.5, 2.5, -1.0, 0.0, 1.0]
    once = compare_means(ten, _subjects(10))
    four_times = compare_means([d for d in ten for _ in range(4)], _subjects(40, 4))
    assert (four_times.low, four_times.high) == (once.low, once.high)
    assert four_times.standard_error == pytest.approx(once.standard_error, abs=1e-12)


@pytest.mark.parametrize(("subjects", "has_interval"), [(1, False), (6, False), (7, True)])
def test_fewer_than_seven_subjects_give_no_interval(subjects: int, has_interval: bool) -> None:
    """With six subjects, one draw in 64 is empty, which exceeds the tail level."""
    means = compare_means([1.0 + i / 10 for i in range(subjects)], _subjects(subjects))
    assert (means.low is not None) == (means.high is not None) == has_interval


def test_holms_adjustment_matches_the_textbook() -> None:
    """Four p-values adjusted by hand: times 4, 3, 2 and 1, monotone, at most 1."""
    assert adjust_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02], abs=1e-12)
    assert adjust_holm([0.9, 0.8]) == [1.0, 1.0]
    assert adjust_holm([]) == []
