"""Errors planted into an installation's own answers: every kind that they give occasion for, with evidence in the record."""

import math
from collections.abc import Sequence

import pytest

from fine_tune_assets.core.progress import Progress, ignore_progress
from fine_tune_assets.judging.judges.grades import Criterion, GradableAnswer, Grade, Judge
from fine_tune_assets.judging.judges.planted_errors.own_error_detection import fingerprint_examples, grade_own_errors
from fine_tune_assets.judging.judges.planted_errors.own_errors import (
    FOREIGN,
    KINDS,
    MAX_PER_KIND,
    OwnExample,
    plant_own_errors,
)
from fine_tune_assets.judging.judges.planted_errors.planted_error_set import replace_record
from fine_tune_assets_tests.judging.judges.planted_errors.harbour_reports import harbour_reports


def test_every_kind_that_the_answers_give_occasion_for_is_planted() -> None:
    """The numbers, units, dates, directions, opposites, negations and terms of this domain, and another report's sentence."""
    assert {case.kind for case in plant_own_errors(harbour_reports(24))} == set(KINDS)


def test_a_kind_without_occasion_has_no_cases() -> None:
    plain = [
        OwnExample(str(n), GradableAnswer(str(n), "t", "", "The gate leaks.", "The gate leaks.", None))
        for n in range(5)
    ]
    assert plant_own_errors(plain) == []


def test_each_case_changes_one_statement_and_the_record_shows_it() -> None:
    examples = harbour_reports(24)
    cases = plant_own_errors(examples)
    for case in cases:
        assert case.before.output != case.after.output
        assert case.after.input == case.before.input
        assert case.before.reference is None
        changed = set(case.after.output.replace(".", "").split()) - set(case.before.output.replace(".", "").split())
        assert case.kind in (FOREIGN, "exchange", "negation") or len(changed) == 1
        if case.kind == "number":
            assert changed.isdisjoint(case.before.input.replace(".", "").split())


def test_cases_are_limited_spread_over_subjects_and_independent_of_the_order() -> None:
    examples = harbour_reports(40)
    cases = plant_own_errors(examples)
    for kind in KINDS:
        own = [case for case in cases if case.kind == kind]
        assert len(own) <= MAX_PER_KIND
        assert len({case.group for case in own}) == len(own)
    assert fingerprint_examples(examples) == fingerprint_examples(examples[::-1])
    assert fingerprint_examples(examples) != fingerprint_examples(examples[1:])


class _Reader:
    """Grades by the words that the record lacks; for `silent` answers there is no grade."""

    kind = "verifier"
    version = "judge"

    def __init__(self, silent: str = "") -> None:
        self._silent = silent

    def grade(self, answers: Sequence[GradableAnswer], _progress: Progress) -> list[Grade]:
        return [self._grade(answer) for answer in answers]

    def _grade(self, answer: GradableAnswer) -> Grade:
        if self._silent and self._silent in answer.output:
            return Grade(None, "no reading")
        lacking = set(answer.output.lower().split()) - set(answer.input.lower().split())
        score = max(1.0, 10.0 - len(lacking))
        return Grade(score, "", {"accuracy": Criterion(score)})

    def for_repeat(self) -> Judge:
        return self  # type: ignore[return-value]


def test_the_measurement_has_shares_auroc_and_the_blind_control_by_kind() -> None:
    """The number of an error that the record lacks is found; two exchanged numbers are not, because both are in the record."""
    examples = harbour_reports(24)
    found = {
        one.kind: one
        for one in grade_own_errors(_Reader(), "accuracy", examples, ignore_progress).summarize()  # type: ignore[arg-type]
    }
    numbers, exchanged = found["number"], found["exchange"]
    assert numbers.lowered is not None
    assert exchanged.lowered is not None
    assert numbers.lowered.low > exchanged.lowered.high
    assert numbers.lowered.low <= numbers.lowered.value <= numbers.lowered.high
    assert found["all"].cases == sum(one.cases for kind, one in found.items() if kind != "all")
    assert found["all"].subjects == 24
    blind = numbers.blind_auroc
    assert blind is not None
    assert blind.value == pytest.approx(0.5, abs=0.1)
    assert replace_record(examples[0].answered).input != examples[0].answered.input


def test_an_answer_without_a_grade_is_counted_and_detects_nothing() -> None:
    graded = grade_own_errors(_Reader("Larch"), "accuracy", harbour_reports(24), ignore_progress)  # type: ignore[arg-type]
    everything = graded.summarize()[0]
    assert everything.ungraded > 0
    assert everything.cases + everything.ungraded == len(graded.cases)
    assert not any(
        detected for detected, right in zip(graded.is_detected(), graded.right, strict=True) if math.isnan(right)
    )
