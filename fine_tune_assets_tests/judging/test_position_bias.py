"""Comparisons in both orders: a position bias must come out as no preference."""

import math

import pytest

from fine_tune_assets.judging.judges.judge_prompts import LETTERS
from fine_tune_assets.judging.judges.judge_requests import log_odds_of_tokens
from fine_tune_assets.judging.judges.llm_judge import SAMPLES, combine_positions, log_odds_of_samples


def test_a_judge_that_always_prefers_the_first_answer_has_no_preference() -> None:
    """SmolLM2-135M prefers the first answer of every pair, which must never promote."""
    found = combine_positions(3.0, 3.0)
    assert found.probability == pytest.approx(0.5, abs=1e-9)
    assert found.is_position_consistent is False
    assert found.preferred == 0


def test_an_answer_preferred_in_both_orders_is_preferred() -> None:
    """The position bias cancels out between the orders."""
    found = combine_positions(3.0, -1.0)
    assert found.probability == pytest.approx(1 / (1 + math.exp(-2.0)), abs=1e-9)
    assert found.is_position_consistent is True
    assert found.preferred == 1
    assert combine_positions(-3.0, 1.0).preferred == 2


def test_exchanging_the_answers_gives_the_complementary_probability() -> None:
    one, other = combine_positions(2.0, -0.5), combine_positions(-0.5, 2.0)
    assert one.probability is not None
    assert other.probability is not None
    assert one.probability + other.probability == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("orders", [(None, 1.0), (1.0, None), (math.nan, 1.0)])
def test_one_order_alone_gives_no_preference(orders: tuple[float | None, float | None]) -> None:
    found = combine_positions(*orders)
    assert (found.probability, found.is_position_consistent, found.preferred) == (None, None, 0)


def test_all_spellings_of_a_letter_count_together() -> None:
    tokens = {"A": math.log(0.3), " a": math.log(0.1), "B": math.log(0.2), "The": math.log(0.4)}
    assert log_odds_of_tokens(tokens, LETTERS) == pytest.approx(math.log(2.0), abs=1e-9)


def test_an_unlisted_letter_gets_the_lowest_listed_probability() -> None:
    """This is a lower bound of the odds."""
    assert log_odds_of_tokens({"A": -0.1, "Well": -3.0}, LETTERS) == pytest.approx(2.9, abs=1e-9)
    assert log_odds_of_tokens({"Well": -0.1}, LETTERS) is None


def test_sampled_letters_never_give_certainty() -> None:
    """Five of five letters prove nothing."""
    odds = log_odds_of_samples(["A"] * SAMPLES)
    assert odds == pytest.approx(math.log(11.0), abs=1e-9)
    assert log_odds_of_samples(["B"] * SAMPLES) == pytest.approx(-odds, abs=1e-9)
    assert combine_positions(odds, odds).probability == pytest.approx(0.5, abs=1e-9)
