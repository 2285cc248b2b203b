"""How often a test has decided: the count of each example, the verdicts of a year, and the level that follows from them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fine_tune_assets.judging.evaluation.example_selection import EarlierTests
from fine_tune_assets.judging.verdicts.example_reuse import (
    VerdictHistory,
    describe_reuse,
    find_verdict_history,
    summarize_reuse,
)
from fine_tune_assets.judging.verdicts.promotion_rule import decide_promotion
from fine_tune_assets.ledger.serving.verdicts import AskedTest
from fine_tune_assets_tests.judging.verdict_inputs import GATE, GOOD_TABLES, evidence, gains, graded

NOW = datetime(2027, 3, 1, tzinfo=UTC)


def _asked(adapter: str, incumbent: str, days_ago: int, *ids: str) -> AskedTest:
    return AskedTest(adapter, incumbent, NOW - timedelta(days=days_ago), ids)


TESTS = [
    _asked("one", "base", 400, "a", "b"),
    _asked("two", "base", 300, "a", "b"),
    _asked("three", "two", 10, "b", "c"),
]


def test_the_history_names_the_examples_of_this_incumbent_and_of_the_one_before() -> None:
    found = find_verdict_history(TESTS, "four", "two", NOW)
    assert (found.earlier.of_incumbent, found.earlier.before_incumbent) == (("b", "c"), ("a", "b"))
    assert found.earlier.uses == {"a": 2, "b": 3, "c": 1}
    assert found.verdicts_this_year == 3


def test_a_candidate_that_is_judged_again_is_not_its_own_earlier_verdict() -> None:
    """Judging it twice must give the same verdict."""
    found = find_verdict_history(TESTS, "three", "two", NOW)
    assert found.earlier.of_incumbent == ("b", "c")
    assert (found.earlier.uses["c"], found.verdicts_this_year) == (0, 2)


def test_the_verdict_says_how_often_its_examples_decided() -> None:
    uses = {f"e{i:03}": i % 3 for i in range(60)}
    made = evidence(history=VerdictHistory(EarlierTests(uses=uses), 3))
    assert made.test_uses == uses
    found = summarize_reuse(made.test_uses.values())
    assert (found.examples, found.fresh, found.most, found.mean) == (60, 20, 2, pytest.approx(1.0))
    assert describe_reuse(found) in decide_promotion(made, GATE).reasons


def test_a_gain_must_be_clear_enough_for_a_year_of_verdicts() -> None:
    """A gain that one verdict alone would show is on hold; with a budget for one verdict a year it is promoted."""
    tables = replace(GOOD_TABLES, judge_scores=graded(gains([0.35 + (i % 9 - 4) / 3 for i in range(70)])))
    weekly, single = GATE, replace(GATE, verdicts_per_year=1)
    assert decide_promotion(evidence(tables, single), single).decision == "promote"
    decided = decide_promotion(evidence(tables, weekly), weekly)
    assert decided.decision == "hold"
    assert "52 verdicts a year" in decided.reasons[0]


def test_more_verdicts_than_planned_lower_the_level() -> None:
    assert GATE.verdict_level(1) == GATE.verdict_level(52) == pytest.approx(0.05 / 52)
    assert GATE.verdict_level(104) == pytest.approx(0.05 / 104)
    assert evidence(history=VerdictHistory(EarlierTests(), 104)).gain_level == GATE.verdict_level(104)
