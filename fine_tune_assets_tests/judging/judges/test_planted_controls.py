"""Controls of a language-model judge: of each it is known whether its record supports it."""

import pytest

from fine_tune_assets.judging.judges.planted_controls import (
    CONTROL_PAIRS,
    change_line,
    control_failure,
    plant_controls,
)
from fine_tune_assets.judging.judges.statement_readers import Reading

RECORDS = [
    "The tenant pays 900 euros of rent each month.\nThe lease ends in October.",
    "The pump was replaced in March.\nIts filter is cleaned every 14 days by the operator.",
    "Ana collects stamps from Portugal and Brazil.",
]


def test_a_true_control_is_a_line_of_its_record_and_a_false_one_is_not() -> None:
    pairs = plant_controls(RECORDS)
    assert len(pairs) == CONTROL_PAIRS
    for pair in pairs:
        assert pair.true.record == pair.false.record
        assert pair.true.statement in pair.true.record
        assert pair.false.statement not in pair.false.record
    assert {pair.true.record for pair in pairs} > set(RECORDS)


def test_controls_do_not_depend_on_the_order_of_the_records() -> None:
    assert plant_controls(RECORDS) == plant_controls(RECORDS[::-1])


@pytest.mark.parametrize("record", ["", "Hi.", "cough cough cough cough cough", "How are you today, my friend?"])
def test_a_record_that_states_nothing_does_not_lower_the_number_of_controls(record: str) -> None:
    """A judge could otherwise escape its controls in such a batch."""
    pairs = plant_controls([record])
    assert len(pairs) == CONTROL_PAIRS
    assert all(pair.true.record != record for pair in pairs)


def test_a_line_of_a_similar_record_is_not_a_false_statement() -> None:
    """Two answers to one question share most of their content."""
    similar = ["Ana collects stamps from Portugal.", "Ana collects stamps from Portugal and Brazil."]
    false = {pair.false.statement for pair in plant_controls(similar)}
    assert not false & set(similar)


@pytest.mark.parametrize("line", ["Take 20 drops.", "It did not rain.", "The door is open."])
def test_a_changed_line_says_something_else(line: str) -> None:
    assert change_line(line) not in ("", line)


def test_a_line_without_number_negation_or_verb_is_not_changed() -> None:
    assert change_line("Green tea with mint") == ""


def _pair(true: float, false: float) -> tuple[Reading, Reading]:
    return tuple(Reading(one, 0.0, 1 - one) for one in (true, false))  # type: ignore[return-value]


def test_a_judge_that_tells_controls_apart_is_usable() -> None:
    assert control_failure([_pair(0.8, 0.1), _pair(0.4, 0.5)]) == ""


@pytest.mark.parametrize("always", [0.0, 1 / 3, 1.0])
def test_a_judge_that_always_gives_the_same_reply_is_not_usable(always: float) -> None:
    assert control_failure([_pair(always, always)] * CONTROL_PAIRS)


def test_a_judge_that_fails_on_most_controls_is_not_usable() -> None:
    """One failed request says little about the judge; most of them do."""
    failed = Reading(0.0, 0.0, 0.0, failure="the server failed")
    good = _pair(0.9, 0.1)
    assert control_failure([good, good, (good[0], failed)]) == ""
    assert control_failure([good, (failed, good[1]), (good[0], failed)]) == "the server failed"
