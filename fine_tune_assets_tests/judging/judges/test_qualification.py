"""The licence: a judge may decide only where exactly it was measured, and found good enough."""

import math
import re
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.judging.judges.grades import Answered
from fine_tune_assets.judging.judges.labelled_sets import own_expert_sets
from fine_tune_assets.judging.judges.qualification import MINIMUM_RATINGS, closed_because, licence_of
from fine_tune_assets.tables.judging import JudgeAgreement
from fine_tune_assets.tables.records import table_of

SHIPPED: dict[str, Any] = {
    "labelled_set": "rated_summaries",
    "human_measure": "FactualF1",
    "answers": 100,
    "missing": 0,
    "spearman": 0.6,
    "low": 0.5,
    "high": 0.7,
    "judge_version": "judge",
    "set_fingerprint": "set-1",
}
OTHER_MEASURE = {**SHIPPED, "human_measure": "OmissionRate", "spearman": -0.7}
OWN = {
    **SHIPPED,
    "labelled_set": "own_experts",
    "human_measure": "score",
    "task": "plan",
    "answers": MINIMUM_RATINGS,
    "set_fingerprint": "own-1",
}


def test_the_map_to_peoples_grades_comes_with_the_licence() -> None:
    """Of the own experts where they said enough; none where the licence is closed, or from a table of before."""
    shipped, own = {**SHIPPED, "calibration": "[[1, 2], [9, 8]]"}, {**OWN, "calibration": "[[1, 1], [9, 5]]"}
    found = _licence(shipped, own).scale
    assert found is not None
    assert (found.labelled_set, found.fingerprint, found.of(5.0), found.of(10.0)) == ("own_experts", "own-1", 3.0, 5.0)
    general = _licence(shipped, own, task="another").scale
    assert general is not None
    assert (general.labelled_set, general.of(5.0)) == ("rated_summaries", 5.0)
    assert _licence({**shipped, "spearman": 0.1}).scale is None
    assert _licence(SHIPPED).scale is None


@pytest.mark.parametrize("changed", ["instruction", "output", "reference"])
def test_a_task_that_is_asked_otherwise_has_other_ratings_of_its_own(changed: str) -> None:
    """Experts rated answers to what was asked then: a licence that rests on them ends with the question."""
    asked = {"instruction": "Summarise.", "input": "A cough.", "output": "Cough.", "reference": "A cough."}
    before, after = (
        own_expert_sets([("plan", 7.0, Answered("a", "plan", **words))])[0].fingerprint
        for words in (asked, {**asked, changed: "Something else."})
    )
    licence = _licence(SHIPPED, {**OWN, "set_fingerprint": before})
    assert closed_because(licence, {"rated_summaries": "set-1", "own_experts": before}) == ""
    assert "own_experts changed" in closed_because(licence, {"rated_summaries": "set-1", "own_experts": after})


def _table(*rows: dict[str, Any]) -> pa.Table:
    return table_of(rows, JudgeAgreement.SCHEMA)


def _licence(*rows: dict[str, Any], task: str = "plan", floor: float = 0.4, version: str = "judge") -> Any:
    return licence_of(_table(*rows), version, task, floor)


def test_a_judge_that_agrees_with_people_is_licensed() -> None:
    """The refusals below mean nothing if nothing could pass."""
    licence = _licence(SHIPPED, OTHER_MEASURE, {**OWN, "spearman": 0.5})
    assert licence.why_not == ""
    assert licence.agreement == 0.5
    assert licence.labelled_sets == {"rated_summaries": "set-1", "own_experts": "own-1"}


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], "not measured"),
        ([OTHER_MEASURE], "not measured"),
        ([OWN], "not measured"),
        ([{**SHIPPED, "judge_version": "another"}], "not measured"),
        ([SHIPPED, SHIPPED], "not measured"),
        ([{**SHIPPED, "spearman": 0.39}], r"0\.39, below 0\.40"),
        ([{**SHIPPED, "spearman": -0.9}], r"-0\.90, below"),
        ([{**SHIPPED, "spearman": None, "why": "no reference answer"}], "no reference answer"),
        ([{**SHIPPED, "spearman": math.nan}], "could not be measured"),
        ([{**SHIPPED, "answers": 90, "missing": 10}], "without a grade"),
        ([SHIPPED, {**OWN, "spearman": 0.1}], r"own experts is 0\.10, below"),
        ([SHIPPED, {**OWN, "spearman": None, "why": "grades or ratings are all alike"}], "all alike"),
        ([SHIPPED, {**OWN, "answers": 1, "missing": MINIMUM_RATINGS}], "own experts could not be measured"),
    ],
)
def test_the_licence_is_refused(rows: list[dict[str, Any]], why: str) -> None:
    """Missing, bad, of another judge, or of the easy answers only: each leaves it without a vote, and says so."""
    licence = _licence(*rows)
    assert licence.why_not
    assert re.search(why, licence.why_not)


def test_experts_who_disagree_about_one_task_take_that_task_only() -> None:
    """What clinicians elsewhere rated says little about a task that people here say otherwise of."""
    rows = SHIPPED, {**OWN, "spearman": 0.1}
    assert _licence(*rows, task="plan").why_not
    assert _licence(*rows, task="summary").why_not == ""


def test_too_few_own_ratings_neither_give_nor_take_it() -> None:
    few = {**OWN, "answers": MINIMUM_RATINGS - 1}
    assert _licence(SHIPPED, {**few, "spearman": -1.0}).why_not == ""
    assert _licence({**SHIPPED, "spearman": 0.1}, {**few, "spearman": 1.0}).why_not


@given(
    missing=st.sets(st.sampled_from(["spearman", "row"]), min_size=1),
    own=st.one_of(st.none(), st.floats(-1, 1, width=32)),
)
def test_a_missing_figure_never_licenses(missing: set[str], own: float | None) -> None:
    """However good everything else is."""
    rows = [] if "row" in missing else [{**SHIPPED, "spearman": None}]
    assert _licence(*rows, {**OWN, "spearman": own}, floor=-1.0).why_not


@given(st.permutations([SHIPPED, OTHER_MEASURE, {**OWN, "spearman": 0.5}, {**OWN, "task": "summary", "spearman": 0.1}]))
def test_the_order_of_rows_changes_nothing(rows: list[dict[str, Any]]) -> None:
    expected = _licence(SHIPPED, OTHER_MEASURE, {**OWN, "spearman": 0.5}, {**OWN, "task": "summary", "spearman": 0.1})
    assert _licence(*rows) == expected


@pytest.mark.parametrize("sets", [{"rated_summaries": "set-2"}, {}])
def test_a_licence_ends_when_what_it_rests_on_changes(sets: dict[str, str]) -> None:
    licence = _licence(SHIPPED)
    assert closed_because(licence, {"rated_summaries": "set-1", "new": "set-9"}) == ""
    assert "rated_summaries changed" in closed_because(licence, sets)


def test_it_is_worked_out_anew_for_another_judge_and_another_floor() -> None:
    """Nothing of it is stored: a licence of before can't be used for what is asked now."""
    assert _licence(SHIPPED).why_not == ""
    assert "not measured" in _licence(SHIPPED, version="with another prompt").why_not
    assert "below 0.70" in _licence(SHIPPED, floor=0.7).why_not


def test_what_was_refused_stays_refused() -> None:
    licence = _licence()
    assert closed_because(licence, {}) == licence.why_not


def test_experts_who_said_enough_can_not_be_left_out() -> None:
    """Their ratings are in the ledger, and the judge was not measured on them: it might be the measurement that refuses it."""
    licence = _licence(SHIPPED)
    sets = {"rated_summaries": "set-1"}
    assert closed_because(licence, sets) == ""
    assert "was not measured on" in closed_because(licence, {**sets, "own_experts": "own-1"})
