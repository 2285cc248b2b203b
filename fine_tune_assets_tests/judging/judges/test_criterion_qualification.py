"""A judge decides only about criteria for which it was measured and found good enough."""

import math
from typing import Any

import pytest

from fine_tune_assets.judging.judges.criterion_qualification import (
    MAX_BLIND_AUROC,
    MIN_PLANTED_AUROC,
    CriterionQualification,
    qualify_criterion,
    qualify_preference,
)
from fine_tune_assets.judging.judges.judge_qualification import MIN_RATINGS
from fine_tune_assets.judging.judges.rubrics import read_rubric
from fine_tune_assets.tables.judging_rows import JudgeAgreement
from fine_tune_assets.tables.record_classes import table_from_rows

ACCURACY, COMPLETENESS, TONE, FORMAT = read_rubric("clinical", "clinical")
FLOOR = 0.4
SAME: dict[str, Any] = {
    "labelled_set": "rated_summaries", "answer_count": 100, "ungraded_count": 0, "judge_version": "judge",
    "labelled_set_fingerprint": "set-1",
}  # fmt: skip
PLANTED = {
    **SAME, "criterion": "factual_accuracy", "human_measure": "planted_all", "auroc": 0.9, "blind_auroc": 0.5,
}  # fmt: skip
PRECISION = {**SAME, "criterion": "factual_accuracy", "human_measure": "FactualPrecision", "spearman": 0.3}
RECALL = {**SAME, "criterion": "completeness", "human_measure": "FactualRecall", "spearman": 0.6}
OMISSION = {**SAME, "criterion": "completeness", "human_measure": "OmissionRate", "spearman": -0.7}
OWN = {
    **SAME, "labelled_set": "own_experts", "human_measure": "score", "task": "plan", "answer_count": MIN_RATINGS,
    "spearman": 0.5,
}  # fmt: skip
PAIRS = {
    **SAME, "labelled_set": "pairs", "human_measure": "majority", "accuracy": 0.8, "accuracy_low": 0.7,
    "position_consistency": 0.9, "judge_length_preference": 0.6, "human_length_preference": 0.6,
}  # fmt: skip


def _qualify(criterion: Any, *rows: dict[str, Any], task: str = "plan") -> CriterionQualification:
    return qualify_criterion(table_from_rows(rows, JudgeAgreement.SCHEMA), "judge", task, FLOOR, criterion)


def test_measured_criteria_qualify() -> None:
    """The refusals below are meaningless if nothing can pass."""
    accuracy, completeness = _qualify(ACCURACY, PLANTED, PRECISION), _qualify(COMPLETENESS, RECALL, OMISSION)
    assert (accuracy.failure_reason, accuracy.agreement) == ("", 0.3)
    assert (completeness.failure_reason, completeness.agreement) == ("", 0.6)
    assert "0.90" in accuracy.basis


def test_kinds_of_errors_that_a_qualified_judge_misses_are_named() -> None:
    side = {**PLANTED, "human_measure": "planted_side", "auroc": 0.5}
    assert "side 0.50" in _qualify(ACCURACY, PLANTED, PRECISION, side).basis


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [PRECISION],
        [PLANTED],
        [{**PLANTED, "auroc": MIN_PLANTED_AUROC - 0.01}, PRECISION],
        [{**PLANTED, "auroc": math.nan}, PRECISION],
        [{**PLANTED, "auroc": None}, PRECISION],
        [{**PLANTED, "blind_auroc": MAX_BLIND_AUROC + 0.01}, PRECISION],
        [{**PLANTED, "blind_auroc": math.nan}, PRECISION],
        [{**PLANTED, "blind_auroc": None}, PRECISION],
        [{**PLANTED, "answer_count": 60, "ungraded_count": 40}, PRECISION],
        [PLANTED, {**PRECISION, "spearman": 0.0}],
        [PLANTED, {**PRECISION, "spearman": math.nan}],
        [PLANTED, {**PRECISION, "criterion": None}],
        [{**PLANTED, "judge_version": "another"}, PRECISION],
        [PLANTED, PRECISION, {**OWN, "criterion": "factual_accuracy", "spearman": 0.1}],
    ],
)
def test_accuracy_does_not_qualify(rows: list[dict[str, Any]]) -> None:
    """Errors are missed or found without the record, people disagree, or a figure is missing."""
    found = _qualify(ACCURACY, *rows)
    assert found.failure_reason
    assert found.basis == ""


@pytest.mark.parametrize(
    "rows",
    [
        [RECALL],
        [OMISSION],
        [RECALL, {**OMISSION, "spearman": 0.7}],
        [{**RECALL, "spearman": 0.39}, OMISSION],
        [{**RECALL, "spearman": math.nan}, OMISSION],
        [{**RECALL, "answer_count": 60, "ungraded_count": 40}, OMISSION],
    ],
)
def test_completeness_does_not_qualify(rows: list[dict[str, Any]]) -> None:
    assert _qualify(COMPLETENESS, *rows).failure_reason


def test_only_own_experts_qualify_a_judge_of_tone() -> None:
    """No shipped set has ratings of tone."""
    rated = {**OWN, "criterion": "tone"}
    assert _qualify(TONE, rated).failure_reason == ""
    assert _qualify(TONE, rated).agreement == 0.5
    assert _qualify(TONE, PLANTED, PRECISION, OWN).failure_reason
    assert _qualify(TONE, {**rated, "answer_count": MIN_RATINGS - 1}).failure_reason
    assert _qualify(TONE, {**rated, "spearman": 0.3}).failure_reason
    assert _qualify(TONE, {**rated, "answer_count": 0, "ungraded_count": MIN_RATINGS, "spearman": None}).failure_reason
    assert _qualify(TONE, rated, task="another").failure_reason


def test_format_is_measured_by_a_rule() -> None:
    found = _qualify(FORMAT)
    assert (found.failure_reason, found.agreement) == ("", None)
    assert found.basis


@pytest.mark.parametrize(
    "changes",
    [
        {"accuracy_low": 0.5},
        {"accuracy_low": math.nan},
        {"accuracy_low": None, "missing_reason": "no reply"},
        {"position_consistency": 0.5},
        {"position_consistency": math.nan},
        {"judge_length_preference": 0.9},
        {"answer_count": 60, "ungraded_count": 40},
        {"judge_version": "another"},
    ],
)
def test_a_choice_does_not_qualify(changes: dict[str, Any]) -> None:
    """It is by chance, depends on the order or the length, or was not measured."""
    good, changed = (table_from_rows([PAIRS, {**PAIRS, **more}], JudgeAgreement.SCHEMA) for more in ({}, changes))
    assert qualify_preference(good, "judge").failure_reason == ""
    if "judge_version" in changes:
        changed = table_from_rows([{**PAIRS, **changes}], JudgeAgreement.SCHEMA)
    assert qualify_preference(changed, "judge").failure_reason
