"""The promotion rule: every way in which the gate closes, and that it can open."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.core.missing_grades import explain_unsignable
from fine_tune_assets.judging.judges.grades import describe_blind_spots
from fine_tune_assets.judging.verdicts.evidence import (
    Evidence,
    EvidenceTables,
    evidence_json,
    gather_evidence,
    read_evidence,
    read_gate_settings,
)
from fine_tune_assets.judging.verdicts.metric_families import DOCUMENT_METRICS
from fine_tune_assets.judging.verdicts.promotion_rule import (
    GateResult,
    decide_promotion,
    gain_objections,
    regression_objections,
)
from fine_tune_assets.judging.verdicts.subgroups import ExampleGroups
from fine_tune_assets.judging.verdicts.verdict_metrics import Metric
from fine_tune_assets.recipes.schema import GateSettings
from fine_tune_assets.tables.judging_rows import DocumentAnswer, JudgeAgreement, JudgeScore
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.judging.verdict_inputs import (
    CANDIDATE,
    FIRST_TEST,
    GATE,
    GOOD_GRADES,
    GOOD_TABLES,
    JUDGE,
    STRICT,
    agreement,
    checked,
    evidence,
    from_documents,
    gains,
    graded,
    remembered,
    retained,
    robust,
)

RANK = {"refuse": 0, "hold": 1, "promote": 2}
EVERYTHING = replace(GATE, requires=("abilities", "checks", "safety", "robustness", "subgroups"))


def _evidence(**changes: Any) -> Evidence:
    return evidence(replace(GOOD_TABLES, **changes))


def _decided(gate: GateSettings = GATE, **changes: Any) -> GateResult:
    gathered = changes.pop("gathered", {})
    return decide_promotion(evidence(replace(GOOD_TABLES, **changes), gate, **gathered), gate)


def _assert_refused(decided: GateResult, *parts: str) -> None:
    """Refused for exactly one reason, which contains `parts`."""
    (reason,) = decided.reasons
    assert decided.decision == "refuse"
    assert all(part in reason for part in parts), reason


def test_a_clearly_better_candidate_with_complete_evidence_is_promoted() -> None:
    """The refusals below are meaningless if nothing can pass."""
    decided = _decided()
    assert decided.decision == "promote", decided.reasons
    assert "summary better" in decided.reasons[0]
    assert "95 % interval" in decided.reasons[1]


@pytest.mark.parametrize(
    ("changes", "decision", "reason"),
    [
        (
            {"judge_scores": graded(gains([-1.0 + (i % 5) / 4 for i in range(40)]))},
            "refuse",
            "gate.minimum_gain",
        ),
        ({"retained_abilities": retained(copa=(0.9, 0.3))}, "refuse", "copa"),
        ({"retained_abilities": retained(copa=(0.6, 0.35))}, "hold", "copa"),
        (
            {"judge_scores": graded(gains([0.1, 2.0, -1.5, -0.2, 0.9] * 5))},
            "hold",
            "0.50 points",
        ),
        ({"judge_scores": graded(gains([1.0, 2.0, 1.5]))}, "hold", "3 test examples"),
        ({"judge_scores": graded(dict.fromkeys("abcdef", (None, 4.0)))}, "hold", "6 of 6 test examples"),
        (
            {"judge_scores": graded({**GOOD_GRADES, **dict.fromkeys("abcdef", (9.0, None))})},
            "hold",
            "6 of 66 test examples",
        ),
        ({"judge_agreement": agreement(judge="another")}, "hold", "`fine-tune materialize judge_agreement`"),
        ({"judge_agreement": agreement(0.1)}, "hold", "0.10"),
        ({"judge_agreement": agreement(math.nan)}, "hold", "`fine-tune materialize judge_agreement`"),
        ({"retained_abilities": None}, "hold", "`fine-tune materialize retained_abilities`"),
        ({"retained_abilities": retained(other=(0.6, 0.6))}, "hold", "copa (abilities)"),
        ({"retained_abilities": retained(copa=(0.6, math.nan))}, "hold", "copa (abilities)"),
    ],
)
def test_the_gate_closes(changes: dict[str, Any], decision: str, reason: str) -> None:
    """A bad metric refuses, a missing one holds, and the reason names it."""
    decided = _decided(**changes)
    assert decided.decision == decision, decided.reasons
    assert any(reason in given for given in decided.reasons), decided.reasons


def test_the_production_model_is_not_promoted() -> None:
    tables = replace(GOOD_TABLES, judge_scores=graded(GOOD_GRADES))
    same = replace(evidence(tables), incumbent="adapter")
    assert decide_promotion(same, GATE).decision == "hold"


@pytest.mark.parametrize(
    ("family", "asset"),
    [
        ("checks", "answer_checks"),
        ("safety", "memorization_results"),
        ("robustness", "robustness_results"),
        ("subgroups", "judge_scores"),
    ],
)
def test_a_required_family_that_was_not_measured_holds(family: Any, asset: str) -> None:
    decided = _decided(replace(GATE, requires=("abilities", family)))
    assert decided.decision == "hold"
    assert f"`fine-tune materialize {asset}`" in " ".join(decided.reasons)


def test_an_extracted_secret_refuses() -> None:
    """No gain and no signature outweighs it."""
    leaked = remembered(extracted_count=1, p_value=0.001, is_clean=False, reason="1 of 20 secrets was extracted.")
    _assert_refused(_decided(memorization_results=leaked), "planted_secrets_1", "1 of 20")


def test_a_candidate_with_every_measurement_is_promoted() -> None:
    """With every family required, the gate can still open."""
    whole = replace(
        GOOD_TABLES,
        answer_checks=checked(GOOD_TABLES.judge_scores),
        robustness_results=robust(),
        memorization_results=remembered(),
    )
    ids = sorted(GOOD_GRADES)
    groups = {"site: one": ids[:30], "site: two": ids[30:]}
    assert decide_promotion(evidence(whole, EVERYTHING, groups), EVERYTHING).decision == "promote"


def test_a_forged_turn_in_a_report_refuses() -> None:
    """A bug of our own code has no difference to report, and the rule must still decide."""
    _assert_refused(_decided(robustness_results=robust(forged_turn_tokens=19)), "forged_turn_tokens", "1 of 20")


@pytest.mark.parametrize(
    ("column", "name"), [("is_grounded", "grounding"), ("is_cited", "citation"), ("is_refusal", "refusal")]
)
def test_a_candidate_that_answers_worse_from_documents_is_refused(column: str, name: str) -> None:
    decided = _decided(document_answers=from_documents(**{column: 30}))
    assert decided.decision == "refuse"
    assert any(f"({name})" in reason for reason in decided.reasons)
    assert _decided(document_answers=from_documents()).decision == "promote"


def test_answers_from_documents_that_were_expected_and_not_measured_hold() -> None:
    """The recipe answers from documents, but no question was asked."""
    expected = {"abilities": ["copa"], "documents": [*DOCUMENT_METRICS]}
    for table in (None, DocumentAnswer.SCHEMA.empty_table()):
        decided = _decided(document_answers=table, gathered={"expected": expected})
        assert decided.decision == "hold"
        assert all(any(f"{name} (documents)" in reason for reason in decided.reasons) for name in DOCUMENT_METRICS)
    assert _decided(document_answers=from_documents(), gathered={"expected": expected}).decision == "promote"


def test_an_expected_test_that_does_not_gate_holds() -> None:
    """It was measured under other settings; an informational result is not a gating one."""
    shown = evidence(
        replace(GOOD_TABLES, memorization_results=remembered(is_gating=False)),
        expected={"abilities": ["copa"], "safety": ["planted_secrets_1"]},
    )
    decided = decide_promotion(shown, GATE)
    assert decided.decision == "hold"
    assert any("planted_secrets_1 (safety)" in reason for reason in decided.reasons)


def test_a_loss_within_its_limit_holds_if_the_recipe_requires_an_interval() -> None:
    """The reason names the number of items that would settle it."""
    few = retained(copa=(0.6, 0.55))
    assert _decided(GATE, retained_abilities=few).decision == "promote"
    decided = _decided(STRICT, retained_abilities=few)
    assert decided.decision == "hold"
    assert "copa (abilities)" in decided.reasons[0]
    needed = next(metric.needed_items for metric in _evidence(retained_abilities=few).metrics if metric.name == "copa")
    assert f"{needed} items" in decided.reasons[0]


def test_a_gain_below_the_minimum_is_refused() -> None:
    """The candidate is better, but by less than the recipe requires."""
    decided = _decided(replace(GATE, minimum_gain=2.0))
    assert decided.decision == "refuse"
    assert "2.00 points (gate.minimum_gain)" in decided.reasons[0]


def test_missing_grades_count_with_their_worst_value() -> None:
    """Two of 42 are within the allowed share, but with the worst grades in their place the gain is not significant."""
    weak = gains([0.3 + (i % 9 - 4) / 8 for i in range(40)], 9.0)
    assert _decided(judge_scores=graded(weak)).decision == "promote"
    decided = _decided(judge_scores=graded({**weak, "x": (None, 9.0), "y": (None, 9.0)}))
    assert decided.decision == "hold"
    assert "gate.minimum_gain" in decided.reasons[0]
    assert "`fine-tune materialize judge_scores`" in decided.reasons[0]


BAD_REST = graded({**gains([-2.0 + (i % 5) / 4 for i in range(20)]), **{f"x{i}": (None, 4.0) for i in range(60)}})
"""20 low grades of 80 examples."""


def test_with_too_many_missing_grades_the_rest_decides_nothing() -> None:
    """A refusal is final, so it must not come from the few grades of a judge that failed on most."""
    groups = {"site: one": [f"e{i:03}" for i in range(20)]}
    decided = _decided(replace(GATE, minimum_group_examples=8), judge_scores=BAD_REST, gathered={"groups": groups})
    assert decided.decision == "hold"
    (reason,) = decided.reasons
    assert "60 of 80" in reason
    assert "`fine-tune materialize judge_scores`" in reason
    complete = _decided(judge_scores=graded(gains([-2.0 + (i % 5) / 4 for i in range(20)])))
    assert complete.decision == "refuse"


def test_metrics_without_grades_refuse_even_if_grades_are_missing() -> None:
    """A failure of the judge does not excuse an extracted secret."""
    leaked = remembered(extracted_count=1, p_value=0.001, is_clean=False, reason="1 of 20 secrets was extracted.")
    _assert_refused(_decided(judge_scores=BAD_REST, memorization_results=leaked), "planted_secrets_1", "1 of 20")
    forgetful = _decided(judge_scores=BAD_REST, retained_abilities=retained(copa=(0.9, 0.3)))
    assert forgetful.decision == "refuse"
    assert "copa" in forgetful.reasons[0]


def test_a_hold_for_missing_grades_cannot_be_signed() -> None:
    """The ledger evaluates the same rule from the evidence document."""
    few, enough = (evidence(replace(GOOD_TABLES, judge_scores=scores)) for scores in (BAD_REST, graded(GOOD_GRADES)))
    assert explain_unsignable(evidence_json(few)) in decide_promotion(few, GATE).reasons
    assert explain_unsignable(evidence_json(enough)) == ""
    assert gain_objections(few, GATE) == decide_promotion(few, GATE).reasons


GRADES = st.lists(
    st.tuples(st.integers(4, 40).map(lambda quarter: quarter / 4), st.integers(4, 40).map(lambda quarter: quarter / 4)),
    min_size=20,
    max_size=40,
)


def _grades(pairs: Any) -> dict[str, tuple[float | None, float | None]]:
    return {f"e{i:03}": pair for i, pair in enumerate(pairs)}


def _of(rows: Any, gate: GateSettings = GATE, ability: tuple[float, float] = (0.6, 0.6)) -> Any:
    ids = sorted(rows)
    groups = {"site: one": ids[::2], "site: two": ids[1::2]}
    tables = replace(GOOD_TABLES, judge_scores=graded(rows), retained_abilities=retained(copa=ability))
    return evidence(tables, replace(gate, minimum_group_examples=8), groups)


@given(GRADES, st.randoms(use_true_random=False))
@settings(max_examples=10, deadline=None)
def test_shuffling_examples_changes_nothing(pairs: Any, random: Any) -> None:
    """The evidence is identical to the last bit, except for the fingerprint of the table."""
    rows = _grades(pairs)
    names = list(rows)
    random.shuffle(names)
    one, other = _of(rows), _of({name: rows[name] for name in names})
    assert one.metrics == other.metrics
    assert (one.power, one.distributions, one.expected) == (other.power, other.distributions, other.expected)
    assert decide_promotion(one, GATE) == decide_promotion(other, GATE)


@given(GRADES, st.integers(0, 39), st.floats(0.25, 9), st.sampled_from([GATE, STRICT]))
@settings(max_examples=10, deadline=None)
def test_a_worse_answer_never_helps(pairs: Any, place: int, less: float, gate: GateSettings) -> None:
    rows = _grades(pairs)
    name = list(rows)[place % len(rows)]
    worse = {**rows, name: (max(1.0, rows[name][0] - less), rows[name][1])}
    assert RANK[decide_promotion(_of(worse), gate).decision] <= RANK[decide_promotion(_of(rows), gate).decision]


@given(GRADES, st.integers(0, 39), st.booleans())
@settings(max_examples=10, deadline=None)
def test_a_missing_grade_never_promotes(pairs: Any, place: int, of_candidate: bool) -> None:
    """Neither the candidate's nor the incumbent's; otherwise a judge that fails on bad answers would help."""
    rows = _grades(pairs)
    name = list(rows)[place % len(rows)]
    missing = {**rows, name: (None, rows[name][1]) if of_candidate else (rows[name][0], None)}
    if decide_promotion(_of(rows), GATE).decision != "promote":
        assert decide_promotion(_of(missing), GATE).decision != "promote"


@given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 30), st.sampled_from([GATE, STRICT]))
@settings(max_examples=10, deadline=None)
def test_forgetting_more_never_helps(base: int, adapter: int, less: int, gate: GateSettings) -> None:
    before = _of(GOOD_GRADES, ability=(base / 100, adapter / 100))
    after = _of(GOOD_GRADES, ability=(base / 100, max(0, adapter - less) / 100))
    assert RANK[decide_promotion(after, gate).decision] <= RANK[decide_promotion(before, gate).decision]


@given(st.data(), st.sampled_from([GATE, STRICT]))
@settings(max_examples=10, deadline=None)
def test_removing_a_metric_never_promotes(data: Any, gate: GateSettings) -> None:
    """Any metric, removed entirely or without its numbers."""
    grades = data.draw(GRADES)
    ability = (data.draw(st.integers(0, 100)) / 100, data.draw(st.integers(0, 100)) / 100)
    complete = _of(_grades(grades), ability=ability)
    place = data.draw(st.integers(0, len(complete.metrics) - 1))
    removed = complete.metrics[place]
    rest = tuple(other for other in complete.metrics if other is not removed)
    for metrics in (rest, (*rest, _without_numbers(removed))):
        assert decide_promotion(replace(complete, metrics=metrics), gate).decision != "promote"


def _without_numbers(metric: Metric) -> Metric:
    numbers = dict.fromkeys(("candidate", "incumbent", "difference", "low", "high", "p", "adjusted_p"))
    return replace(metric, **numbers, outcome="unknown", is_within_margin=False)


@given(st.sets(st.sampled_from(["agreement", "is_qualified"]), min_size=1))
def test_an_unqualified_judge_never_promotes(missing: set[str]) -> None:
    good = evidence()
    judge = replace(
        good.judge,
        agreement=None if "agreement" in missing else good.judge.agreement,
        is_qualified="is_qualified" not in missing,
    )
    assert decide_promotion(replace(good, judge=judge), GATE).decision == "hold"


def test_grades_of_an_unqualified_judge_refuse_nothing() -> None:
    """In a new domain, a judge that could not tell right from wrong answers (AUROC 0.57) refused an adapter that had learned its
    task, and told people to correct their examples. The next step is to qualify a judge."""
    worse = graded(gains([-1.0 + (i % 5) / 4 for i in range(40)]))
    decided = _decided(judge_scores=worse, judge_agreement=agreement(0.1))
    assert decided.decision == "hold"
    assert decided.reasons[0].startswith("The judge is not qualified.")
    assert any("-0.50 points" in reason for reason in decided.reasons)


def test_what_needs_no_grades_still_refuses_with_an_unqualified_judge() -> None:
    good = evidence()
    (lost,) = (replace(one, outcome="fails") for one in good.family_metrics("abilities")[:1])
    metrics = tuple(lost if one.name == lost.name and one.family == "abilities" else one for one in good.metrics)
    judge = replace(good.judge, is_qualified=False)
    assert decide_promotion(replace(good, judge=judge, metrics=metrics), GATE).decision == "refuse"


def test_an_unqualified_judge_shows_no_gain() -> None:
    good = evidence()
    assert gain_objections(good, GATE) == ()
    assert gain_objections(replace(good, judge=replace(good.judge, is_qualified=False)), GATE)


def test_the_document_has_the_fields_that_its_readers_use() -> None:
    """Its keys are an interface for the desk, the checks and auditors' programs."""
    document = json.loads(evidence_json(evidence()))
    assert set(document) == {
        "adapter_id", "base_fingerprint", "instruction_set_fingerprint", "recipe_fingerprint", "incumbent", "judge", "gate",
        "metrics", "expected", "missing_grades", "power", "distributions", "fingerprints",
        "calibrated_means", "criteria", "tasks", "test_uses", "verdicts_this_year",
    }  # fmt: skip
    assert set(document["judge"]) == {
        "version", "kind", "agreement", "floor", "is_qualified", "failure_reason", "blind_spots", "labelled_sets",
        "ungraded_criteria",
    }  # fmt: skip
    assert {"family", "name", "unit", "candidate", "incumbent", "difference", "low", "high", "p", "adjusted_p", "items",
            "margin", "outcome", "reason"} <= set(document["metrics"][0])  # fmt: skip
    assert {"examples", "needed_examples", "detectable_gain"} <= set(document["power"])
    assert sum(count for _, _, count in document["distributions"]["candidate"]) == 60
    assert {"judge_scores", "judge_agreement", "retained_abilities", "adapter", "recipe"} <= set(
        document["fingerprints"]
    )


def test_the_document_names_the_fingerprints_of_labelled_sets_and_other_inputs() -> None:
    """An auditor can verify the files against them."""
    groups = ExampleGroups({}, {}, ())
    others = {"ability_questions_copa": "questions-1"}
    made = gather_evidence(CANDIDATE, GOOD_TABLES, groups, GATE, JUDGE, {}, FIRST_TEST, others)
    assert made.judge.labelled_sets == {"rated_summaries": "labelled"}
    assert made.fingerprints["labelled_set_rated_summaries"] == "labelled"
    assert made.fingerprints["ability_questions_copa"] == "questions-1"


def test_the_document_states_the_blind_spots_of_the_judge() -> None:
    """A high grade does not prove that nothing was invented."""
    assert evidence().judge.blind_spots == describe_blind_spots("verifier", has_reference=True)


def _with_calibration(knots: list[list[float]], spearman: float = 0.5) -> Any:
    overall, *criteria = agreement(spearman).to_pylist()
    scores = [{**row, "task": "summary"} for row in GOOD_TABLES.judge_scores.to_pylist()]
    measured = table_from_rows([{**overall, "calibration": json.dumps(knots)}, *criteria], JudgeAgreement.SCHEMA)
    return evidence(
        replace(GOOD_TABLES, judge_agreement=measured, judge_scores=table_from_rows(scores, JudgeScore.SCHEMA))
    )


def test_calibrated_means_are_informational() -> None:
    """A calibration is constant beyond its ends and would hide a loss there."""
    halved = _with_calibration([[1.0, 1.0], [10.0, 5.5]])
    assert halved.calibrated_means is not None
    target = halved.target
    assert target is not None
    assert target.candidate is not None
    assert halved.calibrated_means.candidate == pytest.approx(1 + (target.candidate - 1) / 2, abs=0.01)
    assert halved.calibrated_means.labelled_sets == ("rated_summaries",)
    level = _with_calibration([[1.0, 5.0], [2.0, 5.1]])
    assert (level.metrics, decide_promotion(level, GATE)) == (halved.metrics, decide_promotion(halved, GATE))


def test_an_unqualified_judge_has_no_calibrated_means() -> None:
    """A judge that disagrees with people has no calibration."""
    assert _with_calibration([[1.0, 1.0], [10.0, 5.5]], spearman=0.1).calibrated_means is None


def test_the_decision_follows_from_the_document_alone() -> None:
    """The decision can be reproduced from the document."""
    for gate in (GATE, STRICT):
        for grades in (GOOD_GRADES, gains([0.1, -0.1] * 20), gains([-2.0, -1.0] * 20)):
            made = evidence(replace(GOOD_TABLES, judge_scores=graded(grades)), gate)
            again = read_evidence(evidence_json(made))
            assert decide_promotion(again, read_gate_settings(again)) == decide_promotion(made, gate)
            assert evidence_json(again) == evidence_json(made)


def test_the_asset_checks_give_the_reasons_of_the_verdict() -> None:
    """A check with other reasons than the verdict would be a second gate."""
    bad = evidence(
        EvidenceTables(graded(gains([-2.0, -1.0] * 20)), agreement(), retained(copa=(0.9, 0.2))), candidate=CANDIDATE
    )
    assert (*gain_objections(bad, GATE), *regression_objections(bad, GATE)) == decide_promotion(bad, GATE).reasons
    assert gain_objections(evidence(), GATE) == regression_objections(evidence(), GATE) == ()


def test_a_promotion_names_only_the_families_that_were_measured() -> None:
    """A reason that mentions answers from documents without any measurement would be false."""
    reasons = " ".join(decide_promotion(evidence(), GATE).reasons)
    assert "abilities" in reasons
    assert "documents" not in reasons
