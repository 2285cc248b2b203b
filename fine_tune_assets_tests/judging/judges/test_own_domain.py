"""A domain without shipped ratings: the judge decides only by the installation's own examples and ratings.

Every failure names one next step.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.judging.judges.needed_ratings import MIN_TASK_RATINGS, needed_ratings
from fine_tune_assets.judging.judges.own_agreement import rank_correlation_within
from fine_tune_assets.judging.judges.own_domain import (
    MIN_PLANTED,
    MIN_SUBJECTS,
    OwnEvidence,
    needs_own_ratings,
    spot_check_size,
)
from fine_tune_assets.judging.judges.rubrics import read_rubric
from fine_tune_assets.judging.verdicts.judge_status import JudgeRequirements, JudgeStatus, judge_status
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.tables.judging_rows import JudgeAgreement
from fine_tune_assets.tables.record_classes import table_from_rows

FLOOR = 0.3
OWN = OwnEvidence(
    domain="packs/harbours",
    floor=FLOOR,
    examples="examples-1",
    subjects=MIN_SUBJECTS,
    ratings="ratings-1",
    rated={"berth": 34, "crane": 6},
    spot_checks=30,
    adapted=None,
    verifier="",
)
UNRATED = replace(OWN, ratings="", rated={"berth": 0, "crane": 0})
SAME: dict[str, Any] = {"answer_count": 40, "ungraded_count": 0, "judge_version": "judge"}
PLANTED = {
    **SAME, "labelled_set": "own_examples", "labelled_set_fingerprint": "examples-1", "criterion": "factual_accuracy",
    "human_measure": "planted_all", "auroc": 0.9, "auroc_low": 0.7, "blind_auroc": 0.5, "blind_auroc_high": 0.55,
    "lowered_share": 0.9, "lowered_low": 0.8, "raised_share": 0.02, "raised_high": 0.05,
}  # fmt: skip
RATED = {
    **SAME, "labelled_set": "own_experts_pooled", "labelled_set_fingerprint": "ratings-1", "human_measure": "score",
    "spearman": 0.6, "spearman_low": 0.35, "spearman_high": 0.8,
}  # fmt: skip
COMPLETE = {**RATED, "criterion": "completeness"}
CLINICAL = {
    **SAME, "labelled_set": "rated_summaries", "labelled_set_fingerprint": "set-1", "human_measure": "FactualF1",
    "spearman": 0.9, "spearman_low": 0.8, "spearman_high": 0.95,
}  # fmt: skip


def _status(own: OwnEvidence, *rows: dict[str, Any]) -> JudgeStatus:
    sets = {task: {"rated_summaries": "set-1"} for task in own.rated}
    required = JudgeRequirements(
        "verifier", own.floor, tuple(own.rated), sets, read_rubric("general", "general"), own=own
    )
    return judge_status("judge", table_from_rows(rows, JudgeAgreement.SCHEMA), required)


def test_ratings_of_clinical_notes_qualify_no_judge_in_another_domain() -> None:
    """The shipped verifier agrees with clinicians about dialogues, which says nothing about harbours."""
    found = _status(UNRATED, CLINICAL)
    assert not found.is_qualified
    assert "`fine-tune materialize judge_agreement`" in found.failure_reason


def test_planted_errors_and_own_ratings_qualify_a_judge() -> None:
    found = _status(OWN, PLANTED, RATED, COMPLETE)
    assert (found.is_qualified, found.failure_reason, found.agreement) == (True, "", 0.6)
    assert found.ungraded_criteria == ("tone",)
    assert found.labelled_sets == {"own_examples": "examples-1", "own_experts_pooled": "ratings-1"}


def test_an_incomplete_measurement_of_planted_errors_is_said_and_does_not_stop_the_check() -> None:
    missing = dict.fromkeys(("lowered_share", "lowered_low", "raised_share", "raised_high", "auroc", "auroc_low"))
    found = _status(OWN, {**PLANTED, **missing}, RATED, COMPLETE)
    assert not found.is_qualified
    assert "Planted errors were not measured." in found.failure_reason


@pytest.mark.parametrize(
    ("own", "rows", "step"),
    [
        (replace(UNRATED, subjects=MIN_SUBJECTS - 1), [PLANTED], "Approve examples of more subjects."),
        (UNRATED, [], "Run `fine-tune materialize judge_agreement`."),
        (replace(UNRATED, examples="examples-2"), [PLANTED], "Run `fine-tune materialize judge_agreement`."),
        (UNRATED, [{**PLANTED, "answer_count": MIN_PLANTED - 1}], "Approve more or longer answers."),
        (UNRATED, [{**PLANTED, "lowered_low": 0.74}], "Run `fine-tune verifier adapt`."),
        (UNRATED, [{**PLANTED, "raised_high": 0.26}], "Run `fine-tune verifier adapt`."),
        (UNRATED, [{**PLANTED, "auroc_low": 0.64}], "Run `fine-tune verifier adapt`."),
        (UNRATED, [{**PLANTED, "blind_auroc_high": 0.66}], "Run `fine-tune verifier adapt`."),
        (UNRATED, [{**PLANTED, "auroc_low": math.nan}], "Run `fine-tune verifier adapt`."),
        (
            replace(UNRATED, adapted="verifiers/adapted-1"),
            [{**PLANTED, "auroc_low": 0.6}],
            "Set judge.verifier: verifiers/adapted-1 in the recipe",
        ),
        (replace(UNRATED, adapted=""), [{**PLANTED, "auroc_low": 0.6}], "Name a language model in judge.kind"),
        (
            replace(UNRATED, adapted="verifiers/a", verifier="verifiers/a"),
            [{**PLANTED, "auroc_low": 0.6}],
            "Name a language model in judge.kind",
        ),
        (UNRATED, [PLANTED], "Rate 34 more answers on the desk's page Spot checks"),
        (replace(UNRATED, spot_checks=0), [PLANTED], "Set judge.spot_checks: 66 in the recipe, then rate 34 more answers"),
        (replace(OWN, rated={"berth": 20, "crane": 6}), [PLANTED, {**RATED, "spearman_low": 0.2}], "Rate 8 more answers"),
        (replace(OWN, rated={"berth": 40, "crane": 2}), [PLANTED, RATED], "at least 3 of the task crane"),
        (replace(OWN, ratings="ratings-2"), [PLANTED, RATED], "Run `fine-tune materialize judge_agreement`."),
        (OWN, [PLANTED, {**RATED, "spearman": 0.5, "spearman_low": 0.25}], "Rate 39 more answers"),
        (OWN, [PLANTED, {**RATED, "spearman": 0.2, "spearman_low": -0.1}], "Run `fine-tune verifier adapt`."),
        (OWN, [PLANTED, {**RATED, "spearman": None, "spearman_low": None}], "Run `fine-tune verifier adapt`."),
        (OWN, [PLANTED, RATED], "not qualified for completeness"),
        (OWN, [PLANTED, RATED, {**COMPLETE, "answer_count": 10, "spearman_low": 0.1}], "Rate 24 more answers"),
    ],
)  # fmt: skip
def test_the_hold_names_exactly_the_next_step(own: OwnEvidence, rows: list[dict[str, Any]], step: str) -> None:
    """Whatever is missing: the figures, the examples, a better verifier, or ratings, and how many."""
    found = _status(own, *rows)
    assert not found.is_qualified
    assert step in found.failure_reason
    steps = (
        "`fine-tune materialize",
        "`fine-tune verifier adapt`",
        "Set judge.",
        "Rate ",
        "Name a language",
        "Approve",
    )
    assert sum(one in found.failure_reason for one in steps) == 1
    assert set(found.ungraded_criteria) == {"factual_accuracy", "completeness", "tone"}


@pytest.mark.parametrize(("lowest", "is_qualified"), [(FLOOR - 0.001, False), (FLOOR, True)])
def test_the_lower_end_of_the_interval_decides(lowest: float, is_qualified: bool) -> None:
    assert _status(OWN, PLANTED, {**RATED, "spearman_low": lowest}, COMPLETE).is_qualified is is_qualified
    assert _status(OWN, PLANTED, RATED, {**COMPLETE, "spearman_low": lowest}).is_qualified is is_qualified


def test_few_ratings_with_a_clear_agreement_are_enough() -> None:
    """Where the judge agrees better than planned, fewer ratings show it."""
    own, counted = replace(OWN, rated={"berth": 15, "crane": 5}), {"answer_count": 20, "spearman": 0.8}
    assert _status(own, PLANTED, {**RATED, **counted}, {**COMPLETE, **counted}).is_qualified
    fewer = {**counted, "answer_count": 19}
    assert not _status(own, PLANTED, {**RATED, **fewer}, {**COMPLETE, **fewer}).is_qualified


def test_ratings_of_accuracy_can_speak_against_a_judge_that_finds_planted_errors() -> None:
    against = {**RATED, "criterion": "factual_accuracy", "spearman": 0.1, "spearman_low": -0.2}
    assert "factual_accuracy" in _status(OWN, PLANTED, RATED, COMPLETE, against).ungraded_criteria


def test_the_clinical_recipes_keep_the_shipped_ratings_and_other_domains_ask_for_enough() -> None:
    """An approver's desk asks for the ratings that make a qualification likely, unless spot checks are off."""
    clinical, law = load_recipe("demo_smollm2"), load_recipe("law_contracts")
    assert not needs_own_ratings(clinical)
    assert needs_own_ratings(law)
    assert spot_check_size(clinical) == clinical.judge.spot_checks
    assert spot_check_size(law) == needed_ratings(0.6, law.judge.agreement_floor, 0.8) == 66
    assert spot_check_size(replace(law, judge=replace(law.judge, spot_checks=0))) == 0


@given(st.floats(0.05, 0.9), st.floats(0.0, 0.85))
def test_a_better_judge_or_a_lower_floor_never_needs_more_ratings(agreement: float, floor: float) -> None:
    needed = needed_ratings(agreement, floor)
    assert (needed is None) == (agreement <= floor)
    if needed is not None:
        assert (
            (needed_ratings(min(agreement + 0.05, 0.99), floor) or 0)
            <= needed
            <= (needed_ratings(agreement, floor, 0.8) or 0)
        )


def test_the_needed_ratings_reach_the_floor_as_often_as_stated() -> None:
    """Simulated raters with a true rank correlation of 0.6, with the interval that the formula plans for."""
    from fine_tune_assets.judging.judges.spot_check_sample import JudgedAnswer, compare_ratings

    random, reached = np.random.default_rng(1), 0
    count, pearson = needed_ratings(0.6, FLOOR, 0.8) or 0, 2 * math.sin(0.6 * math.pi / 6)
    for _ in range(300):
        both = random.multivariate_normal([0, 0], [[1, pearson], [pearson, 1]], size=count)
        answers = {str(n): JudgedAnswer(str(n), str(n), "t", "m", "a", "s", float(both[n, 0])) for n in range(count)}
        low = compare_ratings([("R", str(n), float(both[n, 1])) for n in range(count)], answers).low  # type: ignore[misc]
        reached += low is not None and low >= FLOOR
    assert reached / 300 == pytest.approx(0.8, abs=0.1)


def test_an_easy_task_next_to_a_hard_one_adds_no_agreement() -> None:
    """Over all answers the grades rise with the ratings only because one task is easier; within each task they do not."""
    tasks = np.array(["easy"] * 4 + ["hard"] * 4)
    grades, ratings = np.array([8.0, 9, 8, 9, 1, 2, 1, 2]), np.array([9.0, 9, 8, 8, 2, 2, 1, 1])
    assert rank_correlation_within(tasks, grades, ratings) == pytest.approx(0.0)
    assert rank_correlation_within(tasks, grades, grades) == pytest.approx(1.0)
    assert MIN_TASK_RATINGS > 1
