"""A judge decides only about criteria for which it was measured and found good enough."""

import math
from typing import Any

import pytest

from fine_tune_assets.judging.judges.criterion_qualification import (
    MAX_BLIND_AUROC,
    MAX_RAISED_SHARE,
    MIN_LOWERED_SHARE,
    MIN_PLANTED_AUROC,
    CriterionQualification,
    qualify_criterion,
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
    **SAME, "criterion": "factual_accuracy", "human_measure": "planted_all", "auroc": 0.9, "auroc_low": 0.8,
    "blind_auroc": 0.5, "blind_auroc_high": 0.55, "lowered_share": 0.95, "lowered_low": 0.9, "raised_share": 0.02,
    "raised_high": 0.05,
}  # fmt: skip
PRECISION = {
    **SAME,
    "criterion": "factual_accuracy",
    "human_measure": "FactualPrecision",
    "spearman": 0.3,
    "spearman_low": 0.1,
}
RECALL = {**SAME, "criterion": "completeness", "human_measure": "FactualRecall", "spearman": 0.6, "spearman_low": 0.5}
OMISSION = {
    **SAME,
    "criterion": "completeness",
    "human_measure": "OmissionRate",
    "spearman": -0.7,
    "spearman_high": -0.5,
}
OWN = {
    **SAME, "labelled_set": "own_experts", "human_measure": "score", "task": "plan", "answer_count": MIN_RATINGS,
    "spearman": 0.5, "spearman_low": 0.42,
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
        [{**PLANTED, "auroc_low": MIN_PLANTED_AUROC - 0.01}, PRECISION],
        [{**PLANTED, "auroc_low": math.nan}, PRECISION],
        [{**PLANTED, "auroc_low": None}, PRECISION],
        [{**PLANTED, "lowered_low": MIN_LOWERED_SHARE - 0.01}, PRECISION],
        [{**PLANTED, "lowered_low": None}, PRECISION],
        [{**PLANTED, "raised_high": MAX_RAISED_SHARE + 0.01}, PRECISION],
        [{**PLANTED, "raised_high": math.nan}, PRECISION],
        [{**PLANTED, "blind_auroc_high": MAX_BLIND_AUROC + 0.01}, PRECISION],
        [{**PLANTED, "blind_auroc_high": math.nan}, PRECISION],
        [{**PLANTED, "blind_auroc_high": None}, PRECISION],
        [{**PLANTED, "answer_count": 60, "ungraded_count": 40}, PRECISION],
        [PLANTED, {**PRECISION, "spearman_low": 0.0}],
        [PLANTED, {**PRECISION, "spearman_low": None}],
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
        [RECALL, {**OMISSION, "spearman": 0.7, "spearman_high": 0.8}],
        [{**RECALL, "spearman_low": 0.39}, OMISSION],
        [RECALL, {**OMISSION, "spearman_high": -0.39}],
        [{**RECALL, "spearman": math.nan}, OMISSION],
        [{**RECALL, "answer_count": 60, "ungraded_count": 40}, OMISSION],
    ],
)
def test_completeness_does_not_qualify(rows: list[dict[str, Any]]) -> None:
    assert _qualify(COMPLETENESS, *rows).failure_reason


@pytest.mark.parametrize(
    ("criterion", "rows", "worse"),
    [
        (ACCURACY, [PLANTED, PRECISION], {**PLANTED, "auroc": 0.7, "auroc_low": 0.5}),
        (COMPLETENESS, [RECALL, OMISSION], {**RECALL, "spearman_low": 0.2}),
    ],
)
def test_the_worse_half_of_the_ratings_decides(
    criterion: Any, rows: list[dict[str, Any]], worse: dict[str, Any]
) -> None:
    """The better half may be better by chance, or because the weights were fitted on it."""
    fitted = [{**row, "labelled_set": "rated_summaries_fitted"} for row in rows]
    assert _qualify(criterion, *rows, *fitted).failure_reason == ""
    bad = [{**worse, "labelled_set": "rated_summaries_fitted"}, *fitted[1:]]
    assert _qualify(
        criterion, *rows, *[row for row in bad if row["human_measure"] == worse["human_measure"]]
    ).failure_reason


def test_the_figures_of_a_basis_are_those_of_the_worse_half() -> None:
    fitted = {**PLANTED, "labelled_set": "rated_summaries_fitted", "auroc": 0.82, "lowered_share": 0.8}
    basis = _qualify(
        ACCURACY, PLANTED, PRECISION, fitted, {**PRECISION, "labelled_set": "rated_summaries_fitted"}
    ).basis
    assert "0.82" in basis
    assert "80%" in basis


def test_few_own_ratings_can_only_speak_against_a_judge() -> None:
    """Twenty ratings show no floor; the shipped ratings do."""
    few = {**OWN, "criterion": "completeness", "spearman": 0.6, "spearman_low": 0.2}
    assert _qualify(COMPLETENESS, RECALL, OMISSION, few).failure_reason == ""
    assert _qualify(COMPLETENESS, RECALL, OMISSION, {**few, "spearman_low": -0.1}).failure_reason
    assert _qualify(COMPLETENESS, RECALL, OMISSION, {**few, "spearman": 0.39}).failure_reason


def test_only_own_experts_qualify_a_judge_of_tone() -> None:
    """No shipped set has ratings of tone."""
    rated = {**OWN, "criterion": "tone"}
    assert _qualify(TONE, rated).failure_reason == ""
    assert _qualify(TONE, rated).agreement == 0.5
    assert _qualify(TONE, PLANTED, PRECISION, OWN).failure_reason
    assert _qualify(TONE, {**rated, "answer_count": MIN_RATINGS - 1}).failure_reason
    assert _qualify(TONE, {**rated, "spearman_low": 0.3}).failure_reason
    assert _qualify(TONE, {**rated, "answer_count": 0, "ungraded_count": MIN_RATINGS, "spearman": None}).failure_reason
    assert _qualify(TONE, rated, task="another").failure_reason


def test_format_is_measured_by_a_rule() -> None:
    found = _qualify(FORMAT)
    assert (found.failure_reason, found.agreement) == ("", None)
    assert found.basis
