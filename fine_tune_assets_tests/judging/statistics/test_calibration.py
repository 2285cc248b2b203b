"""The map to people's scale, and the figures of agreement."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from fine_tune_assets.judging.statistics.association import (
    calibrated,
    cohen_kappa,
    fit_knots,
    grouped_interval,
    partial_spearman,
    spearman,
    with_ends,
)

PAIRS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), min_size=1, max_size=40)


@settings(deadline=None)  # the first call imports scipy
@given(PAIRS, st.randoms(use_true_random=False))
def test_calibrating_never_turns_an_order_around_and_no_order_of_rows_matters(
    pairs: list[tuple[int, int]], random: object
) -> None:
    """Who was graded higher is still graded at least as high, and a shuffled table gives the same licence."""
    raw, human = zip(*pairs, strict=True)
    knots = fit_knots(raw, human)
    grades = calibrated(np.array(sorted(raw), float), knots)
    assert (np.diff(grades) >= 0).all()
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fit_knots(*zip(*shuffled, strict=True)) == knots


def test_between_two_known_ends_every_difference_stays_one() -> None:
    """A level stretch would make two models equal that are not."""
    knots = with_ends(fit_knots([1, 2, 3, 4], [2.0, 6.0, 5.0, 8.0]), (0.0, 1.0), (5.0, 10.0))
    grades = calibrated(np.linspace(0, 5, 11), knots)
    assert (np.diff(grades) > 0).all()
    assert (grades[0], grades[-1]) == (1.0, 10.0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 10), st.sampled_from([1.0, 2.5, 2.5, 7.0, 9.75])), min_size=3))
def test_the_rank_correlation_is_scipys(pairs: list[tuple[int, float]]) -> None:
    """It is made anew only because importing scipy takes longer than a page may."""
    first, second = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    found = spearman(first, second)
    if len(set(first)) > 1 and len(set(second)) > 1:
        assert found == pytest.approx(spearmanr(first, second).statistic, abs=1e-9)
    else:
        assert math.isnan(found)


def test_agreement_by_chance_is_no_agreement() -> None:
    """Always saying 1 is right as often as people say 1."""
    people = [1] * 40 + [2] * 10
    assert cohen_kappa(people, [1] * 50) == pytest.approx(0.0, abs=1e-12)
    assert cohen_kappa(people, people) == pytest.approx(1.0, abs=1e-12)
    assert math.isnan(cohen_kappa([1] * 5, [1] * 5))


def test_a_correlation_that_comes_of_length_alone_is_taken_out() -> None:
    """Grade and rating both follow the length here, and nothing else."""
    random = np.random.default_rng(1)
    length = random.normal(size=2000)
    grade, rating = length + random.normal(size=2000), length + random.normal(size=2000)
    assert spearman(grade, rating) > 0.4
    assert partial_spearman(grade, rating, length) == pytest.approx(0.0, abs=0.06)


def test_answers_about_one_text_are_drawn_together() -> None:
    """Four copies of each row are no more evidence than one."""
    random = np.random.default_rng(2)
    a = random.normal(size=30)
    b = a + random.normal(size=30)
    once = grouped_interval(lambda i: spearman(a[i], b[i]), [str(n) for n in range(30)])
    a4, b4 = np.repeat(a, 4), np.repeat(b, 4)
    copied = grouped_interval(lambda i: spearman(a4[i], b4[i]), [str(n // 4) for n in range(120)])
    assert once is not None
    assert copied is not None
    assert copied.high - copied.low == pytest.approx(once.high - once.low, abs=0.1)


def test_a_figure_that_is_not_defined_has_no_interval() -> None:
    same = np.ones(5)
    assert grouped_interval(lambda i: spearman(same[i], same[i]), list("abcde")) is None
    assert grouped_interval(lambda i: float(i.mean()), []) is None
