"""Judge qualification: a judge decides only on tasks for which it was measured and found good enough."""

import math
import re
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.judging.judges.grades import GradableAnswer
from fine_tune_assets.judging.judges.judge_qualification import MIN_RATINGS, disqualification_reason, qualify_judge
from fine_tune_assets.judging.judges.labelled_sets import OwnRating, build_own_expert_sets
from fine_tune_assets.tables.judging_rows import JudgeAgreement
from fine_tune_assets.tables.record_classes import table_from_rows

SHIPPED: dict[str, Any] = {
    "labelled_set": "rated_summaries",
    "human_measure": "FactualF1",
    "answer_count": 100,
    "ungraded_count": 0,
    "spearman": 0.6,
    "spearman_low": 0.5,
    "spearman_high": 0.7,
    "judge_version": "judge",
    "labelled_set_fingerprint": "set-1",
}
OTHER_MEASURE = {**SHIPPED, "human_measure": "OmissionRate", "spearman": -0.7}
FITTED = {**SHIPPED, "labelled_set": "rated_summaries_fitted"}
OWN = {
    **SHIPPED,
    "labelled_set": "own_experts",
    "human_measure": "score",
    "task": "plan",
    "answer_count": MIN_RATINGS,
    "labelled_set_fingerprint": "own-1",
}


def test_a_qualified_judge_has_a_calibration() -> None:
    """From own experts with enough ratings; none without a qualification or in a table of an older version."""
    shipped, own = {**SHIPPED, "calibration": "[[1, 2], [9, 8]]"}, {**OWN, "calibration": "[[1, 1], [9, 5]]"}
    found = _qualify(shipped, own).calibration
    assert found is not None
    assert (found.labelled_set, found.fingerprint, found.calibrate(5.0), found.calibrate(10.0)) == (
        "own_experts",
        "own-1",
        3.0,
        5.0,
    )
    general = _qualify(shipped, own, task="another").calibration
    assert general is not None
    assert (general.labelled_set, general.calibrate(5.0)) == ("rated_summaries", 5.0)
    assert _qualify({**shipped, "spearman_low": 0.1}).calibration is None
    assert _qualify(SHIPPED).calibration is None


@pytest.mark.parametrize("changed", ["instruction", "output", "reference"])
def test_a_changed_task_invalidates_its_own_ratings(changed: str) -> None:
    """The ratings apply to answers to the former question."""
    content = {"instruction": "Summarize.", "input": "A cough.", "output": "Cough.", "reference": "A cough."}
    before, after = (
        build_own_expert_sets([OwnRating("plan", 7.0, GradableAnswer("a", "plan", **parts))])[0].fingerprint
        for parts in (content, {**content, changed: "Something else."})
    )
    qualification = _qualify(SHIPPED, {**OWN, "labelled_set_fingerprint": before})
    assert disqualification_reason(qualification, {"rated_summaries": "set-1", "own_experts": before}) == ""
    assert "own_experts" in disqualification_reason(qualification, {"rated_summaries": "set-1", "own_experts": after})


def _table(*rows: dict[str, Any]) -> pa.Table:
    return table_from_rows(rows, JudgeAgreement.SCHEMA)


def _qualify(*rows: dict[str, Any], task: str = "plan", floor: float = 0.4, version: str = "judge") -> Any:
    return qualify_judge(_table(*rows), version, task, floor)


def test_a_judge_that_agrees_with_people_qualifies() -> None:
    """The refusals below are meaningless if nothing can pass."""
    qualification = _qualify(SHIPPED, OTHER_MEASURE, {**OWN, "spearman": 0.5})
    assert qualification.failure_reason == ""
    assert qualification.agreement == 0.5
    assert qualification.labelled_sets == {"rated_summaries": "set-1", "own_experts": "own-1"}


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], "`fine-tune materialize judge_agreement`"),
        ([OTHER_MEASURE], "`fine-tune materialize judge_agreement`"),
        ([OWN], "`fine-tune materialize judge_agreement`"),
        ([{**SHIPPED, "judge_version": "another"}], "`fine-tune materialize judge_agreement`"),
        ([SHIPPED, SHIPPED], "`fine-tune materialize judge_agreement`"),
        ([{**SHIPPED, "spearman_low": 0.39}], r"0\.39.* 0\.40"),
        ([{**SHIPPED, "spearman_low": -0.9}], r"-0\.90"),
        ([{**SHIPPED, "spearman_low": None}], "`fine-tune materialize judge_agreement`"),
        ([SHIPPED, {**FITTED, "spearman_low": 0.39}], r"0\.39.* 0\.40"),
        ([{**SHIPPED, "spearman": None, "missing_reason": "no reference answer"}], "no reference answer"),
        ([{**SHIPPED, "spearman": math.nan}], "`fine-tune materialize judge_agreement`"),
        ([{**SHIPPED, "answer_count": 90, "ungraded_count": 10}], "without a grade"),
        ([SHIPPED, {**OWN, "spearman": 0.1}], r"0\.10"),
        ([SHIPPED, {**OWN, "spearman_low": -0.1}], r"-0\.10"),
        ([SHIPPED, {**OWN, "spearman": None, "missing_reason": "constant grades"}], "constant grades"),
        ([SHIPPED, {**OWN, "answer_count": 1, "ungraded_count": MIN_RATINGS}], "without a grade"),
    ],
)
def test_a_judge_does_not_qualify(rows: list[dict[str, Any]], why: str) -> None:
    """Its agreement is missing, low, of another judge, or covers only part of the answers."""
    qualification = _qualify(*rows)
    assert qualification.failure_reason
    assert re.search(why, qualification.failure_reason)


def test_disagreement_on_one_task_affects_that_task_only() -> None:
    """Ratings of this installation override the shipped ones for their task."""
    rows = SHIPPED, {**OWN, "spearman": 0.1}
    assert _qualify(*rows, task="plan").failure_reason
    assert _qualify(*rows, task="summary").failure_reason == ""


def test_too_few_own_ratings_have_no_effect() -> None:
    few = {**OWN, "answer_count": MIN_RATINGS - 1}
    assert _qualify(SHIPPED, {**few, "spearman": -1.0}).failure_reason == ""
    assert _qualify({**SHIPPED, "spearman_low": 0.1}, {**few, "spearman": 1.0}).failure_reason


@given(
    missing=st.sets(st.sampled_from(["spearman", "row"]), min_size=1),
    own=st.one_of(st.none(), st.floats(-1, 1, width=32)),
)
def test_a_missing_agreement_never_qualifies(missing: set[str], own: float | None) -> None:
    rows = [] if "row" in missing else [{**SHIPPED, "spearman": None}]
    assert _qualify(*rows, {**OWN, "spearman": own}, floor=-1.0).failure_reason


@given(st.permutations([SHIPPED, OTHER_MEASURE, {**OWN, "spearman": 0.5}, {**OWN, "task": "summary", "spearman": 0.1}]))
def test_the_order_of_rows_changes_nothing(rows: list[dict[str, Any]]) -> None:
    expected = _qualify(SHIPPED, OTHER_MEASURE, {**OWN, "spearman": 0.5}, {**OWN, "task": "summary", "spearman": 0.1})
    assert _qualify(*rows) == expected


@pytest.mark.parametrize("sets", [{"rated_summaries": "set-2"}, {}])
def test_a_qualification_ends_when_its_labelled_sets_change(sets: dict[str, str]) -> None:
    qualification = _qualify(SHIPPED)
    assert disqualification_reason(qualification, {"rated_summaries": "set-1", "new": "set-9"}) == ""
    assert "rated_summaries" in disqualification_reason(qualification, sets)


def test_another_judge_or_floor_needs_another_qualification() -> None:
    """Nothing is stored, so an old qualification can't be reused."""
    assert _qualify(SHIPPED).failure_reason == ""
    assert "`fine-tune materialize judge_agreement`" in _qualify(SHIPPED, version="with another prompt").failure_reason
    assert "0.70" in _qualify(SHIPPED, floor=0.7).failure_reason


def test_a_failed_qualification_keeps_its_reason() -> None:
    qualification = _qualify()
    assert disqualification_reason(qualification, {}) == qualification.failure_reason


def test_enough_expert_ratings_must_be_included() -> None:
    """The measurement on their ratings might disqualify the judge."""
    qualification = _qualify(SHIPPED)
    sets = {"rated_summaries": "set-1"}
    assert disqualification_reason(qualification, sets) == ""
    assert "`fine-tune materialize judge_agreement`" in disqualification_reason(
        qualification, {**sets, "own_experts": "own-1"}
    )
