"""Paired yes-or-no figures: Tango's interval and McNemar's exact test."""

from math import log, sqrt

import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

from fine_tune_assets.judging.statistics.binary_pairs import (
    BinaryPairs,
    interval,
    mcnemar,
    most_discordant,
    p_loss_within,
    patient_pairs,
    score,
)


@pytest.mark.parametrize("difference", [-0.3, -0.1, 0.0, 0.15])
def test_the_statistic_uses_the_likeliest_shares_with_that_difference(difference: float) -> None:
    """Tango's closed form against a search along the likelihood: 40 pairs, 9 lost, 4 gained."""
    lost, gained, items = 9, 4, 40

    def unlikeliness(only_incumbent: float) -> float:
        only_candidate = only_incumbent + difference
        same = 1 - only_incumbent - only_candidate
        return -(lost * log(only_incumbent) + gained * log(only_candidate) + (items - lost - gained) * log(same))

    bounds = (max(1e-9, 1e-9 - difference), (1 - difference) / 2 - 1e-9)
    share = float(minimize_scalar(unlikeliness, bounds=bounds, method="bounded", options={"xatol": 1e-10}).x)
    variance = items * (2 * share + difference - difference**2)
    expected = (gained - lost - items * difference) / sqrt(variance)
    assert score(BinaryPairs(items, lost, gained), difference) == pytest.approx(expected, abs=1e-4)


def test_nothing_lost_in_few_questions_proves_little() -> None:
    """With z = 1.96 and no pair that differs the lower end is -z² / (n + z²)."""
    for items in (6, 25, 200):
        assert interval(BinaryPairs(items, 0, 0))[0] == pytest.approx(-3.8415 / (items + 3.8415), abs=1e-4)


def test_more_losses_never_look_better() -> None:
    """Every table of up to 14 pairs: one more loss, or one gain less, raises no end and no p-value."""
    for items in (6, 14):
        for worse in range(items):
            for better in range(items - worse):
                here, one_more = BinaryPairs(items, worse, better), BinaryPairs(items, worse + 1, better)
                assert interval(one_more)[0] <= interval(here)[0] + 1e-6
                assert interval(one_more)[1] <= interval(here)[1] + 1e-6
                for margin in (0.0, 0.1, 0.3):
                    assert p_loss_within(one_more, margin) <= p_loss_within(here, margin) + 1e-9
                    if better:
                        fewer = BinaryPairs(items, worse, better - 1)
                        assert p_loss_within(fewer, margin) <= p_loss_within(here, margin) + 1e-9


def test_mcnemar_is_the_binomial_test_of_the_pairs_that_differ() -> None:
    assert mcnemar(BinaryPairs(50, 9, 2)) == binomtest(9, 11, 0.5, alternative="greater").pvalue
    assert mcnemar(BinaryPairs(50, 0, 0)) == 1.0


def test_where_only_the_totals_are_known_the_pairs_differ_as_often_as_they_can() -> None:
    """8 of 10 before and 6 after: at most 2 gained and 4 lost. No table with these totals has a wider interval."""
    worst = most_discordant(10, incumbent_right=8, candidate_right=6)
    assert worst == BinaryPairs(10, 4, 2)
    others = [interval(BinaryPairs(10, 2 + gained, gained)) for gained in range(3)]
    assert interval(worst)[0] == min(low for low, _ in others)


def test_answers_of_one_patient_count_for_less_when_they_fail_together() -> None:
    """Ten failures of two patients are not ten failures."""
    candidate = [False] * 10 + [True] * 30
    together = patient_pairs(candidate, [True] * 40, [f"p{i // 5}" for i in range(40)])
    apart = patient_pairs(candidate, [True] * 40, [f"p{i}" for i in range(40)])
    assert together.items < apart.items
    assert interval(together)[0] < interval(apart)[0]
    assert apart.difference == pytest.approx(-0.25, abs=1e-9)
