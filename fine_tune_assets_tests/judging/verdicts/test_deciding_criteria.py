"""The grade that decides counts only criteria for which the judge is qualified, and the verdict names the others."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.judging.judges.grades import MIN_SCORE
from fine_tune_assets.judging.judges.judge_qualification import MIN_RATINGS
from fine_tune_assets.judging.judges.labelled_sets import RATED_SUMMARIES
from fine_tune_assets.judging.judges.rubrics import read_rubric
from fine_tune_assets.judging.verdicts.criterion_evidence import CriterionEvidence
from fine_tune_assets.judging.verdicts.evidence import Evidence, evidence_json, gather_evidence, read_evidence
from fine_tune_assets.judging.verdicts.judge_status import JudgeRequirements, judge_status
from fine_tune_assets.judging.verdicts.promotion_rule import GateResult, decide_promotion
from fine_tune_assets.judging.verdicts.subgroups import ExampleGroups
from fine_tune_assets.tables.judging_rows import JudgeAgreement, JudgeScore
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.judging.verdict_inputs import CANDIDATE, FIRST_TEST, GATE, GOOD_TABLES, evidence

REQUIRED = JudgeRequirements(
    "verifier", 0.4, ("summary",), {"summary": {RATED_SUMMARIES: "labelled"}}, read_rubric("clinical", "clinical")
)
RATED: dict[str, Any] = {
    "labelled_set": RATED_SUMMARIES, "answer_count": 100, "ungraded_count": 0, "judge_version": "judge",
    "labelled_set_fingerprint": "labelled",
}  # fmt: skip
OVERALL = {**RATED, "human_measure": "FactualF1", "spearman": 0.6, "spearman_low": 0.5}
PLANTED = {
    **RATED, "criterion": "factual_accuracy", "human_measure": "planted_all", "auroc": 0.9, "auroc_low": 0.8,
    "blind_auroc": 0.5, "blind_auroc_high": 0.55, "lowered_share": 0.95, "lowered_low": 0.9, "raised_share": 0.02,
    "raised_high": 0.05,
}  # fmt: skip
PRECISION = {
    **RATED,
    "criterion": "factual_accuracy",
    "human_measure": "FactualPrecision",
    "spearman": 0.3,
    "spearman_low": 0.1,
}
COMPLETENESS = [
    {**RATED, "criterion": "completeness", "human_measure": "FactualRecall", "spearman": 0.6, "spearman_low": 0.5},
    {**RATED, "criterion": "completeness", "human_measure": "OmissionRate", "spearman": -0.7, "spearman_high": -0.5},
]
QUALIFIED = [OVERALL, PLANTED, PRECISION, *COMPLETENESS]
Scores = Mapping[str, tuple[float | None, float | None]]
"""Criterion → grades of candidate and incumbent."""
BETTER: Scores = {"factual_accuracy": (8.0, 4.0), "completeness": (7.0, 5.0), "format": (10.0, 10.0)}
WORSE_ACCURACY: Scores = {**BETTER, "factual_accuracy": (2.0, 8.0)}


def _graded(scores: Scores, **columns: Any) -> pa.Table:
    """Sixty examples with the same criteria; the overall grade says that the candidate is better."""
    rows = []
    for number in range(60):
        for place, model in enumerate(("adapter", "base")):
            values = {
                name: found[place] + number % 3 / 10 for name, found in scores.items() if found[place] is not None
            }
            criteria = {name: {"score": value, "reason": "r", "evidence": ""} for name, value in values.items()}
            row = {
                "model": model, "model_fingerprint": model, "adapter_id": "adapter", "example_id": f"e{number:03}",
                "subject_key": f"p{number:03}", "answer": "a", "score": (7.0, 5.0)[place] + number % 3 / 10,
                "reason": "r", "unsupported_numbers": 0, "is_finished": True, "judge_version": "judge",
                "judge_kind": "verifier", "task": "summary", "criteria": json.dumps(criteria),
            }  # fmt: skip
            rows.append({**row, **columns})
    return table_from_rows(rows, JudgeScore.SCHEMA)


def _evidence(rows: Sequence[dict[str, Any]], scores: pa.Table, required: JudgeRequirements = REQUIRED) -> Evidence:
    tables = replace(GOOD_TABLES, judge_scores=scores, judge_agreement=table_from_rows(rows, JudgeAgreement.SCHEMA))
    return gather_evidence(CANDIDATE, tables, ExampleGroups({}, {}, ()), GATE, required, {}, FIRST_TEST)


def _decided(made: Evidence) -> GateResult:
    return decide_promotion(made, GATE)


def _target(made: Evidence) -> float:
    assert made.target is not None
    assert made.target.candidate is not None
    return made.target.candidate


def _criterion(made: Evidence, name: str) -> CriterionEvidence:
    (found,) = [one for one in made.criteria if one.name == name]
    return found


def test_qualified_criteria_decide_with_the_weights_of_the_rubric() -> None:
    """The refusals below are meaningless if nothing can pass."""
    made = _evidence(QUALIFIED, _graded(BETTER))
    assert _decided(made).decision == "promote", _decided(made).reasons
    assert _target(made) == pytest.approx((0.3 * 8 + 0.5 * 7 + 0.1 * 10) / 0.9 + 0.1, abs=0.01)
    accuracy = _criterion(made, "factual_accuracy")
    assert (accuracy.candidate, accuracy.incumbent, accuracy.difference) == (8.1, 4.1, 4.0)
    assert (accuracy.low, accuracy.high, accuracy.agreement, accuracy.is_qualified) == (4.0, 4.0, 0.3, True)


def test_a_verdict_names_the_criteria_that_no_judge_could_grade() -> None:
    """The verifier does not grade tone."""
    promoted = _evidence(QUALIFIED, _graded(BETTER))
    held = replace(promoted, missing_grades=60)
    assert promoted.judge.ungraded_criteria == ("tone",)
    assert (_criterion(promoted, "tone").candidate, _criterion(promoted, "tone").is_qualified) == (None, False)
    for made, decision in ((promoted, "promote"), (held, "hold")):
        assert _decided(made).decision == decision
        assert "tone" in _decided(made).reasons[-1]


@pytest.mark.parametrize(
    "planted",
    [
        {"auroc_low": 0.5},
        {"auroc_low": math.nan},
        {"auroc_low": None},
        {"blind_auroc_high": 0.9},
        {"blind_auroc_high": None},
    ],
)
def test_accuracy_of_a_judge_that_does_not_read_does_not_count(planted: dict[str, Any]) -> None:
    """A judge that says yes to everything gives every answer the same accuracy."""
    made = _evidence([OVERALL, {**PLANTED, **planted}, PRECISION, *COMPLETENESS], _graded(WORSE_ACCURACY))
    assert _target(made) == pytest.approx((0.5 * 7 + 0.1 * 10) / 0.6 + 0.1, abs=0.01)
    assert made.judge.ungraded_criteria == ("factual_accuracy", "tone")
    assert not _criterion(made, "factual_accuracy").is_qualified
    assert _decided(made).decision == "promote"
    assert "factual accuracy" in _decided(made).reasons[-1]


def test_a_loss_of_qualified_accuracy_counts() -> None:
    assert _decided(_evidence(QUALIFIED, _graded(WORSE_ACCURACY))).decision == "refuse"


MEASURE = "`fine-tune materialize judge_agreement`"


@pytest.mark.parametrize(
    ("rows", "step"),
    [
        ([], MEASURE),
        ([{**OVERALL, "spearman": math.nan}, PLANTED, PRECISION, *COMPLETENESS], MEASURE),
        ([OVERALL, PLANTED, PRECISION], MEASURE),
        ([{**OVERALL, "spearman_low": 0.1}, PLANTED, PRECISION, *COMPLETENESS], "judge.kind"),
        (
            [OVERALL, PLANTED, PRECISION, {**COMPLETENESS[0], "spearman_low": 0.1}, COMPLETENESS[1]],
            "`fine-tune verifier train`",
        ),
    ],
)
def test_an_unqualified_judge_holds_and_the_verdict_names_the_step_that_qualifies_one(
    rows: list[dict[str, Any]], step: str
) -> None:
    """No other judge takes its place. Accuracy alone never decides: a model that says less would win."""
    made = _evidence(rows, _graded(BETTER))
    assert (made.judge.is_qualified, made.judge.ungraded_criteria) == (
        False,
        ("factual_accuracy", "completeness", "tone"),
    )
    assert not any(one.is_qualified for one in made.criteria)
    assert made.calibrated_means is None
    decided = _decided(made)
    assert decided.decision == "hold"
    assert step in made.judge.failure_reason
    assert made.judge.failure_reason in decided.reasons[0]
    assert "completeness" in decided.reasons[-1]


@pytest.mark.parametrize(
    ("measured_by", "step"), [("model", "judge.spot_checks"), ("statements", "judge.kind"), ("form", "judge.rubric")]
)
def test_a_rubric_of_which_nothing_is_qualified_names_its_step(measured_by: str, step: str) -> None:
    """Only ratings by the installation's experts qualify a judge for tone."""
    rubric = tuple(one for one in REQUIRED.rubric if one.measured_by == measured_by)
    planted = {**PLANTED, "auroc_low": 0.5}
    made = _evidence([OVERALL, planted, PRECISION], _graded(BETTER), replace(REQUIRED, rubric=rubric))
    assert step in made.judge.failure_reason
    assert _decided(made).decision == "hold"


@pytest.mark.parametrize("missing", [None, math.nan])
def test_an_answer_without_a_qualified_criterion_has_no_grade(missing: float | None) -> None:
    """It would be compared on other criteria than the rest."""
    made = _evidence(QUALIFIED, _graded({**BETTER, "completeness": (missing, 5.0)}))
    assert made.missing_grades == 60
    assert _decided(made).decision == "hold"


def test_an_answer_without_words_keeps_the_lowest_grade() -> None:
    """It has no statements, so no criterion is graded."""
    made = _evidence(QUALIFIED, _graded(BETTER, score=MIN_SCORE, criteria=None))
    assert (_target(made), made.missing_grades) == (MIN_SCORE, 0)


def test_tone_counts_once_own_experts_qualify_it() -> None:
    own = {
        **RATED, "labelled_set": "own_experts", "human_measure": "score", "task": "summary", "criterion": "tone",
        "answer_count": MIN_RATINGS,
    }  # fmt: skip
    scores = _graded({**BETTER, "tone": (1.0, 9.0)})
    few, low, enough = (
        {**own, "spearman": 0.6, "spearman_low": 0.5, **changes}
        for changes in ({"answer_count": 19}, {"spearman_low": 0.1}, {})
    )
    for row in (few, low):
        assert not _criterion(_evidence([*QUALIFIED, row], scores), "tone").is_qualified
    counted = _evidence([*QUALIFIED, enough], scores)
    assert counted.judge.ungraded_criteria == ()
    assert _target(counted) == pytest.approx(0.3 * 8 + 0.5 * 7 + 0.1 * 10 + 0.1 * 1 + 0.1, abs=0.01)


def test_a_judge_of_the_candidates_family_decides_nothing() -> None:
    """Models prefer their own family's wording."""
    required = replace(REQUIRED, kind="statements", is_same_family=True)
    made = _evidence(QUALIFIED, _graded(BETTER), required)
    assert "judge.kind" in made.judge.failure_reason
    assert not any(one.is_qualified for one in made.criteria)
    assert _decided(made).decision == "hold"


def test_documents_of_earlier_versions_load() -> None:
    document = json.loads(evidence_json(evidence()))
    del document["criteria"]
    del document["judge"]["ungraded_criteria"]
    document["judge"]["deciding_kind"] = "formula"
    read = read_evidence(json.dumps(document))
    assert (read.criteria, read.judge.ungraded_criteria) == ((), ())
    assert decide_promotion(read, GATE) == decide_promotion(evidence(), GATE)


def _qualified_tone(*tasks: str) -> list[dict[str, Any]]:
    """Ratings of tone by own experts, who also rated the whole answer."""
    own = {"labelled_set": "own_experts", "human_measure": "score", "answer_count": MIN_RATINGS}
    own |= {"spearman": 0.6, "spearman_low": 0.5}
    rated = [
        {**RATED, **own, "task": task, "criterion": criterion, "labelled_set_fingerprint": f"own {task}"}
        for task in tasks
        for criterion in (None, "tone")
    ]
    return [*QUALIFIED, *rated]


def _status(required: JudgeRequirements, *tasks: str) -> tuple[str, ...]:
    return judge_status(
        "judge", table_from_rows(_qualified_tone(*tasks), JudgeAgreement.SCHEMA), required
    ).ungraded_criteria


def test_tone_is_not_qualified_for_tasks_with_fixed_labels() -> None:
    """A label has no tone, so nobody can rate it there."""
    sets = {RATED_SUMMARIES: "labelled"}
    required = replace(
        REQUIRED,
        kind="statements",
        tasks=("summary", "triage"),
        labelled_sets={"summary": {**sets, "own_experts": "own summary"}, "triage": sets},
    )
    assert "tone" in _status(required, "summary")
    assert "tone" not in _status(replace(required, label_tasks=frozenset({"triage"})), "summary")


def test_a_language_model_of_the_candidates_family_does_not_decide_about_tone() -> None:
    required = replace(
        REQUIRED,
        kind="statements",
        labelled_sets={"summary": {RATED_SUMMARIES: "labelled", "own_experts": "own summary"}},
    )
    assert "tone" not in _status(required, "summary")
    assert _status(replace(required, is_same_family=True), "summary") == ("tone",)
