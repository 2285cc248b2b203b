"""How often a test has decided: the count of each example, the verdicts of a year, and the level that follows from them."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pytest

from fine_tune_assets.judging.evaluation.example_selection import AskedExamples
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


def _asked(adapter: str, incumbent: str, days_ago: int, *ids: str, scores: str = "") -> AskedTest:
    return AskedTest(adapter, incumbent, scores or f"scores of {adapter}", NOW - timedelta(days=days_ago), ids)


TESTS = [
    _asked("one", "base", 400, "a", "b"),
    _asked("two", "base", 300, "a", "b"),
    _asked("three", "two", 10, "b", "c"),
]


def test_the_history_names_the_examples_of_this_incumbent_and_of_the_one_before() -> None:
    found = find_verdict_history(TESTS, "four", "two", "scores of four", NOW)
    assert (found.asked.of_incumbent, found.asked.before_incumbent) == (("b", "c"), ("a", "b"))
    assert found.asked.uses == {"a": 2, "b": 3, "c": 1}
    assert found.verdicts_this_year == 3


def test_the_history_reaches_the_worker_as_json() -> None:
    """It is part of the request; the second candidate of an installation is the first with a history."""
    found = find_verdict_history(TESTS, "four", "two", None, NOW).asked
    again = AskedExamples(**json.loads(json.dumps(asdict(found))))
    assert (again.uses, tuple(again.of_incumbent)) == (found.uses, found.of_incumbent)


def test_a_verdict_made_again_has_the_history_of_its_first_time() -> None:
    """Otherwise it would get another id after a week, and lose an approver's signature."""
    first = find_verdict_history(TESTS[:1], "two", "base", "scores of two", TESTS[1].recorded_at)
    again = find_verdict_history(TESTS, "two", "base", "scores of two", NOW + timedelta(days=200))
    assert (again.asked.uses, again.verdicts_this_year) == (first.asked.uses, first.verdicts_this_year)


def test_another_look_at_the_same_adapter_counts() -> None:
    """With another judge it has other grades: judging until one of them is good enough is a look each time."""
    other = _asked("three", "two", 5, "b", "c", scores="by another judge")
    found = find_verdict_history([*TESTS, other], "three", "two", "by a third judge", NOW)
    assert (found.verdicts_this_year, found.asked.uses["c"]) == (4, 2)


def test_the_same_grades_are_one_look() -> None:
    found = find_verdict_history([*TESTS, TESTS[2]], "four", "two", "scores of four", NOW)
    assert (found.verdicts_this_year, found.asked.uses["c"]) == (3, 1)


def test_the_verdict_says_how_often_its_examples_decided() -> None:
    uses = {f"e{i:03}": i % 3 for i in range(60)}
    made = evidence(history=VerdictHistory(AskedExamples(uses=uses), 3))
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


def test_more_verdicts_than_planned_promote_nothing() -> None:
    """The error of the year is spent. An approver can sign."""
    decided = decide_promotion(evidence(history=VerdictHistory(AskedExamples(), 53)), GATE)
    assert decided.decision == "hold"
    assert "gate.verdicts_per_year" in decided.reasons[0]
    assert decide_promotion(evidence(history=VerdictHistory(AskedExamples(), 52)), GATE).decision == "promote"
