"""Paired pass-or-fail items: Tango's interval and McNemar's exact test."""

from math import log, sqrt

import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

from fine_tune_assets.judging.statistics.binary_pairs import (
    BinaryPairs,
    effective_pairs,
    p_value_of_loss,
    p_value_of_mcnemar,
    score_interval,
    tango_statistic,
)


@pytest.mark.parametrize("difference", [-0.3, -0.1, 0.0, 0.15])
def test_the_statistic_uses_the_maximum_likelihood_shares(difference: float) -> None:
    """Tango's closed form agrees with a numerical maximization: 40 pairs, 9 lost, 4 gained."""
    lost, gained, items = 9, 4, 40

    def unlikeliness(only_incumbent: float) -> float:
        only_candidate = only_incumbent + difference
        same = 1 - only_incumbent - only_candidate
        return -(lost * log(only_incumbent) + gained * log(only_candidate) + (items - lost - gained) * log(same))

    bounds = (max(1e-9, 1e-9 - difference), (1 - difference) / 2 - 1e-9)
    share = float(minimize_scalar(unlikeliness, bounds=bounds, method="bounded", options={"xatol": 1e-10}).x)
    variance = items * (2 * share + difference - difference**2)
    expected = (gained - lost - items * difference) / sqrt(variance)
    assert tango_statistic(BinaryPairs(items, lost, gained), difference) == pytest.approx(expected, abs=1e-4)


def test_no_loss_in_few_questions_proves_little() -> None:
    """With z = 1.96 and no discordant pair, the lower end is -z² / (n + z²)."""
    for items in (6, 25, 200):
        assert score_interval(BinaryPairs(items, 0, 0))[0] == pytest.approx(-3.8415 / (items + 3.8415), abs=1e-4)


def test_more_losses_never_look_better() -> None:
    """For all tables with 6 or 14 pairs, one more loss or one gain less raises neither an end nor the p-value."""
    for items in (6, 14):
        for worse in range(items):
            for better in range(items - worse):
                here, one_more = BinaryPairs(items, worse, better), BinaryPairs(items, worse + 1, better)
                assert score_interval(one_more)[0] <= score_interval(here)[0] + 1e-6
                assert score_interval(one_more)[1] <= score_interval(here)[1] + 1e-6
                for margin in (0.0, 0.1, 0.3):
                    assert p_value_of_loss(one_more, margin) <= p_value_of_loss(here, margin) + 1e-9
                    if better:
                        fewer = BinaryPairs(items, worse, better - 1)
                        assert p_value_of_loss(fewer, margin) <= p_value_of_loss(here, margin) + 1e-9


def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs() -> None:
    assert p_value_of_mcnemar(BinaryPairs(50, 9, 2)) == binomtest(9, 11, 0.5, alternative="greater").pvalue
    assert p_value_of_mcnemar(BinaryPairs(50, 0, 0)) == 1.0


def test_clustered_failures_of_one_subject_count_less() -> None:
    """Ten failures of two subjects are not ten independent failures."""
    candidate = [False] * 10 + [True] * 30
    together = effective_pairs(candidate, [True] * 40, [f"p{i // 5}" for i in range(40)])
    apart = effective_pairs(candidate, [True] * 40, [f"p{i}" for i in range(40)])
    assert together.items < apart.items
    assert score_interval(together)[0] < score_interval(apart)[0]
    assert apart.difference == pytest.approx(-0.25, abs=1e-9)
