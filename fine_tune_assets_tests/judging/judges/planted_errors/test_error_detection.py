"""Planted errors: the labels are known, and only a judge that reads the record finds them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.progress import Progress, ignore_progress
from fine_tune_assets.judging.judges.criterion_qualification import qualify_criterion
from fine_tune_assets.judging.judges.grades import Criterion, GradableAnswer, Grade, JudgeKind
from fine_tune_assets.judging.judges.labelled_sets import (
    ALL_PLANTED,
    FITTED_SUMMARIES,
    RatedAnswer,
    RatedSet,
    read_rated_summaries,
)
from fine_tune_assets.judging.judges.planted_errors.error_detection import measure_planted_errors
from fine_tune_assets.judging.judges.planted_errors.planted_error_set import (
    MAX_ADDED,
    MAX_PER_KIND,
    OTHER_SUBJECT,
    build_planted_errors,
)
from fine_tune_assets.judging.judges.rubrics import read_rubric
from fine_tune_assets.judging.judges.verifier.training_data.balanced_pairs import BLIND_RECORD

RATED = read_rated_summaries(PROJECT_DIR / "data" / "evaluation" / "judge" / "rated_summaries.csv")
RUBRIC = read_rubric("general", "clinical")
PLANTED = build_planted_errors(RATED.rows)
REFERENCES = {row.answered.input: row.answered.reference for row in RATED.rows}


@dataclass
class AccuracyJudge:
    """Grades accuracy, and the whole answer alike, by a function of the answer."""

    accuracy: Callable[[GradableAnswer], float | None]
    version: str = "judge"
    kind: JudgeKind = "verifier"

    def for_repeat(self) -> "AccuracyJudge":
        return self

    def grade(self, answers: Sequence[GradableAnswer], _progress: Progress) -> list[Grade]:
        scores = [self.accuracy(answer) for answer in answers]
        return [
            Grade(None, "no reply") if score is None else Grade(score, "", {"factual_accuracy": Criterion(score)})
            for score in scores
        ]


def _reads(answer: GradableAnswer) -> float:
    """Knows which answers are right, but only next to their own record."""
    return 10.0 if answer.output == REFERENCES.get(answer.input, "") else 2.0


def _recognizes_errors(answer: GradableAnswer) -> float:
    """Knows them by their look, whatever the record says."""
    return 10.0 if answer.output in REFERENCES.values() else 2.0


def _rows(accuracy: Callable[[GradableAnswer], float | None], rated: RatedSet = RATED) -> dict[str, dict[str, Any]]:
    table = measure_planted_errors(AccuracyJudge(accuracy), rated, RUBRIC, ignore_progress)
    return {row["human_measure"]: row for row in table.to_pylist()}


def test_every_kind_of_error_is_planted_once_per_case() -> None:
    kinds = {error.kind for error in PLANTED.errors}
    assert {"number", "unit", "side", "negation", "date", "medication", OTHER_SUBJECT} == kinds
    for kind in kinds:
        assert 3 <= sum(error.kind == kind for error in PLANTED.errors) <= MAX_PER_KIND
    for error in PLANTED.errors:
        assert error.before.output == REFERENCES[error.before.input]
        assert error.after.output != error.before.output
        assert error.after.input == error.before.input
        assert error.before.reference is error.after.reference is None, "the judge could compare with it"


def test_a_foreign_statement_comes_from_another_subject() -> None:
    for error in PLANTED.errors:
        if error.kind == OTHER_SUBJECT:
            assert error.after.output.endswith(error.before.output)
            added = error.after.output.removesuffix(error.before.output).strip(" .")
            assert added not in error.before.output
            assert any(added in (other or "") for text, other in REFERENCES.items() if text != error.before.input)


def test_a_false_statement_is_added_in_front_of_a_rated_answer() -> None:
    """At the end, it would also complete an answer that was cut off."""
    outputs = {row.answered.output for row in RATED.rows}
    for case in PLANTED.added:
        assert case.before.output in outputs
        assert case.after.output.endswith(case.before.output)
        assert case.after.reference == case.before.reference
    assert sum(case.kind == "added_other_subject" for case in PLANTED.added) == MAX_ADDED


def test_the_order_of_the_answers_changes_nothing() -> None:
    """Otherwise the same evidence would give another verdict."""
    assert build_planted_errors(RATED.rows) == PLANTED
    errors = {(error.kind, error.after.output) for error in PLANTED.errors if error.kind != OTHER_SUBJECT}
    reverse = build_planted_errors(RATED.rows[::-1])
    assert {(error.kind, error.after.output) for error in reverse.errors if error.kind != OTHER_SUBJECT} == errors


def test_a_judge_that_reads_qualifies_for_accuracy() -> None:
    """The refusals below are meaningless if nothing can pass."""
    row = _rows(_reads)[ALL_PLANTED]
    assert (row["auroc"], row["auroc_low"], row["blind_auroc"]) == (1.0, 1.0, 0.5)
    assert (row["answer_count"], row["ungraded_count"]) == (len(PLANTED.errors), 0)


@pytest.mark.parametrize(
    ("accuracy", "auroc", "blind"),
    [(lambda _: 10.0, 0.5, 0.5), (_recognizes_errors, 1.0, 1.0)],
    ids=["says yes to everything", "does not read the record"],
)
def test_a_judge_that_does_not_read_is_unqualified(
    accuracy: Callable[[GradableAnswer], float], auroc: float, blind: float
) -> None:
    table = measure_planted_errors(AccuracyJudge(accuracy), RATED, RUBRIC, ignore_progress)
    row = table.to_pylist()[0]
    assert (row["human_measure"], row["auroc"], row["blind_auroc"]) == (ALL_PLANTED, auroc, blind)
    found = qualify_criterion(table, "judge", "any", -1.0, RUBRIC[0])
    assert f"{blind if auroc > 0.5 else auroc:.2f}" in found.failure_reason
    assert (row["lowered_share"], row["raised_share"]) == (2 * auroc - 1, 0.0)


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_judge_without_grades_is_not_measured(missing: float | None) -> None:
    row = _rows(lambda _: missing)[ALL_PLANTED]
    assert (row["answer_count"], row["ungraded_count"], row["auroc"]) == (0, len(PLANTED.errors), None)
    assert row["missing_reason"]


def test_a_judge_that_fails_without_the_record_has_no_blind_control() -> None:
    row = _rows(lambda answer: None if answer.input == BLIND_RECORD else _reads(answer))[ALL_PLANTED]
    assert (row["auroc"], row["blind_auroc"]) == (1.0, None)


def test_rewards_for_false_statements_and_losses_by_rewrites_are_counted() -> None:
    """A judge that likes long answers rewards what was made up."""
    longer = _rows(lambda answer: min(10.0, len(answer.output) / 100))
    assert longer["added_other_subject"]["graded_up_share"] > 0.9
    by_words = _rows(_reads)
    assert by_words["paraphrase"]["graded_down_share"] == 1.0
    assert by_words["added_other_subject"]["graded_up_share"] == 0.0


class FittedJudge(AccuracyJudge):
    training_groups = frozenset(row.group for row in RATED.rows[:100])


def test_errors_are_not_planted_into_training_texts() -> None:
    table = measure_planted_errors(FittedJudge(_reads), RATED, RUBRIC, ignore_progress)
    unseen, fitted = [row for row in table.to_pylist() if row["human_measure"] == ALL_PLANTED]
    assert unseen["excluded_training_count"] >= 100
    assert unseen["answer_count"] < len(PLANTED.errors)
    assert (fitted["labelled_set"], fitted["excluded_training_count"]) == (FITTED_SUMMARIES, 0)
    assert fitted["answer_count"] > 0


def test_answers_without_references_have_no_planted_errors() -> None:
    bare = RatedAnswer(GradableAnswer("a", "", "Summarize.", "A cough.", "Cough.", None), "text", {"FactualF1": 1.0})
    assert build_planted_errors([bare]).errors == ()
    row = _rows(_reads, RatedSet("rated_summaries", "set", None, (bare,)))[ALL_PLANTED]
    assert row["missing_reason"]
