"""Both orders become one probability: a mere liking for a place must come out as no preference."""

import math

import pytest

from fine_tune_assets.judging.judges.llm_judge import SAMPLES, log_odds_of_samples, log_odds_of_tokens, preference


def test_a_judge_that_likes_the_first_place_prefers_nothing() -> None:
    """SmolLM2-135M says `the first one` to every pair: that must never promote."""
    found = preference(3.0, 3.0)
    assert found.probability == pytest.approx(0.5, abs=1e-9)
    assert found.is_consistent is False
    assert found.preferred == 0


def test_what_both_orders_prefer_is_preferred() -> None:
    """The place adds to one order and takes from the other; what is left is about the answers."""
    found = preference(3.0, -1.0)
    assert found.probability == pytest.approx(1 / (1 + math.exp(-2.0)), abs=1e-9)
    assert found.is_consistent is True
    assert found.preferred == 1
    assert preference(-3.0, 1.0).preferred == 2


def test_the_two_answers_exchanged_give_the_other_probability() -> None:
    one, other = preference(2.0, -0.5), preference(-0.5, 2.0)
    assert one.probability is not None
    assert other.probability is not None
    assert one.probability + other.probability == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("orders", [(None, 1.0), (1.0, None), (math.nan, 1.0)])
def test_one_order_alone_is_no_preference(orders: tuple[float | None, float | None]) -> None:
    found = preference(*orders)
    assert (found.probability, found.is_consistent, found.preferred) == (None, None, 0)


def test_the_letters_of_all_spellings_count_together() -> None:
    tokens = {"A": math.log(0.3), " a": math.log(0.1), "B": math.log(0.2), "The": math.log(0.4)}
    assert log_odds_of_tokens(tokens) == pytest.approx(math.log(2.0), abs=1e-9)


def test_a_letter_that_is_not_listed_is_less_likely_than_the_last_one_listed() -> None:
    """The odds are at least that, and no more is claimed."""
    assert log_odds_of_tokens({"A": -0.1, "Well": -3.0}) == pytest.approx(2.9, abs=1e-9)
    assert log_odds_of_tokens({"Well": -0.1}) is None


def test_drawn_letters_never_say_certainly() -> None:
    """Five letters out of five are no proof."""
    odds = log_odds_of_samples(["A"] * SAMPLES)
    assert odds == pytest.approx(math.log(11.0), abs=1e-9)
    assert log_odds_of_samples(["B"] * SAMPLES) == pytest.approx(-odds, abs=1e-9)
    assert preference(odds, odds).probability == pytest.approx(0.5, abs=1e-9)
