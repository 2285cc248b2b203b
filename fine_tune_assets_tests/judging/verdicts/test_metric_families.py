"""Each table of stage 7 as metrics of a verdict, and what counts as missing."""

import math
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.judging.evaluation.robustness_cases import PROBES, build_probe_table
from fine_tune_assets.judging.verdicts.metric_families import (
    ability_metrics,
    check_metrics,
    document_metrics,
    group_metrics,
    require_same_adapter,
    robustness_metrics,
    safety_metrics,
    target_metric,
)
from fine_tune_assets.judging.verdicts.paired_grades import graded_pairs
from fine_tune_assets.judging.verdicts.verdict_metrics import Metric, adjust_metrics
from fine_tune_assets.recipes.error_levels import ALPHA
from fine_tune_assets.tables.judging_rows import AnswerCheck, DocumentAnswer, RetainedAbility
from fine_tune_assets.tables.record_classes import iter_records, table_from_records
from fine_tune_assets_tests.judging.verdict_inputs import (
    GATE,
    from_documents,
    gains,
    graded,
    remembered,
    retained,
    robust,
)
from fine_tune_assets_tests.record_factory import made

EXAMPLES = [f"e{i:02}" for i in range(40)]


def _one(metrics: list[Metric]) -> Metric:
    (metric,) = adjust_metrics(metrics)
    return metric


def test_a_missing_grade_is_excluded_from_the_means_and_never_helps() -> None:
    """A zero would penalize the model for a failure of the judge; ignoring it would reward losing bad answers."""
    rows = {**gains([1.0 + i % 3 for i in range(20)]), "bad": (None, 9.0)}
    metric = _one([target_metric(graded_pairs(graded(rows), "base"), GATE, ALPHA)])
    assert (metric.items, metric.candidate, metric.incumbent) == (20, pytest.approx(5.95), 4.0)
    complete = _one([target_metric(graded_pairs(graded(gains([1.0 + i % 3 for i in range(20)])), "base"), GATE, ALPHA)])
    assert (metric.difference, complete.p) == (complete.difference, pytest.approx(1e-4, abs=1e-4))
    assert metric.p is not None
    assert complete.p is not None
    assert metric.p > complete.p


def test_a_grade_that_is_not_a_number_is_missing() -> None:
    """It would make the gain NaN, which is below no threshold."""
    table = graded({"e1": (6.0, 4.0), "e2": (math.nan, 4.0)})
    assert [pair.is_complete for pair in graded_pairs(table, "base")] == [True, False]


def test_an_incumbent_without_grades_closes_the_gate() -> None:
    """A comparison with another model says nothing about the production model."""
    with pytest.raises(GateClosedError, match="someone else"):
        graded_pairs(graded(gains([1.0])), "someone else")


def test_different_examples_close_the_gate() -> None:
    table = graded({"e1": (6.0, 4.0), "e2": (6.0, 4.0)})
    halves = [table.filter([True, False, False, True]), table.filter([True, False, True, True])]
    for half in halves:
        with pytest.raises(GateClosedError, match="incumbent base"):
            graded_pairs(half, "base")


def test_an_example_that_was_graded_twice_closes_the_gate() -> None:
    """Otherwise the order of the rows would decide which grade counts."""
    table = graded(gains([1.0, 2.0]))
    with pytest.raises(GateClosedError, match=r"^2 "):
        graded_pairs(pa.concat_tables([table, table]), "base")


def test_a_table_about_another_candidate_closes_the_gate() -> None:
    with pytest.raises(GateClosedError, match="retained_abilities"):
        require_same_adapter("other", {"retained_abilities": retained(copa=(0.5, 0.5)), "answer_checks": None})


def _groups(differences: list[float], **groups: range) -> dict[str, Metric]:
    pairs = graded_pairs(graded(gains(differences, 5.0)), "base")
    ids = {name: [pairs[place].example_id for place in places] for name, places in groups.items()}
    return {metric.name: metric for metric in adjust_metrics(group_metrics("subgroups", pairs, ids, GATE))}


def test_small_groups_are_measured_but_not_tested() -> None:
    """Few examples prove nothing, and would block every candidate."""
    found = _groups([1.0] * 40, large=range(30), small=range(30, 40))
    small, large = found["small"], found["large"]
    assert (small.outcome, small.standing, small.items, small.difference) == ("unknown", "not tested", 10, 1.0)
    assert "gate.minimum_group_examples" in small.reason
    assert (large.outcome, large.standing, large.items) == ("passes", "better", 30)


def test_a_clear_loss_in_a_small_group_fails() -> None:
    """Too few examples to pass are enough to fail."""
    found = _groups([3.0] * 40 + [-3.5, -3.0, -2.5] * 4, large=range(40), small=range(40, 52))
    assert (found["small"].outcome, found["small"].standing) == ("fails", "worse")


@pytest.mark.parametrize(
    ("differences", "standing"),
    [
        ([0.5, 0.6, 0.7] * 10, "better"),
        ([0.2, -0.2, 0.1] * 10, "no worse"),
        ([-0.5, -0.6, -0.7] * 10, "worse"),
        ([4.0, -4.0, 0.0] * 10, "not tested"),
        ([0.5] * 4, "not tested"),
    ],
)
def test_a_group_has_one_of_four_standings(differences: list[float], standing: str) -> None:
    """An interval that includes a loss beyond the limit says nothing, whatever the number of examples."""
    assert _groups(differences, all=range(len(differences)))["all"].standing == standing


def test_a_group_with_a_loss_beyond_the_limit_fails() -> None:
    """A gain in other groups does not compensate."""
    differences = [3.0] * 40 + [-3.0 + (i % 3) / 2 for i in range(24)]
    pairs = graded_pairs(graded(gains(differences, 5.0)), "base")
    ids = [pair.example_id for pair in pairs]
    found = {
        f.name: f.outcome
        for f in adjust_metrics(group_metrics("subgroups", pairs, {"sex: f": ids[40:], "sex: m": ids[:40]}, GATE))
    }
    assert found == {"sex: f": "fails", "sex: m": "passes"}


def _ability(**changes: Any) -> pa.Table:
    values = {
        "ability": "copa", "adapter_id": "adapter", "question_count": 200, "base_accuracy": 0.7, "adapter_accuracy": 0.7,
        "base_only_correct": 5, "adapter_only_correct": 5,
    } | changes  # fmt: skip
    return table_from_records(RetainedAbility, [made(RetainedAbility, **values)])


@pytest.mark.parametrize(
    ("changes", "outcome", "is_within"),
    [
        ({}, "passes", True),
        ({"adapter_accuracy": 0.3, "base_only_correct": 85}, "fails", False),
        ({"adapter_accuracy": 0.58, "base_only_correct": 29}, "unknown", False),
        ({"question_count": 10, "base_only_correct": 1, "adapter_only_correct": 1}, "unknown", True),
        ({"max_accuracy_drop": 0.01}, "passes", True),
        ({"adapter_accuracy": math.nan}, "unknown", False),
        ({"question_count": 0}, "unknown", False),
    ],
)
def test_an_ability_passes_fails_or_is_unknown(changes: dict[str, Any], outcome: str, is_within: bool) -> None:
    """200 questions and a limit of 0.1 from the current recipe, not from the stored table."""
    metric = _one(
        ability_metrics(_ability(**changes), replace(GATE, maximum_ability_loss=0.5, ability_budgets={"copa": 0.1}))
    )
    assert (metric.outcome, metric.is_within_margin) == (outcome, is_within)


def test_holms_adjustment_weakens_one_finding_among_many() -> None:
    """A loss that fails alone is unknown among thirty tasks without a loss."""
    lost = {"adapter_accuracy": 0.51, "base_only_correct": 43}
    gate = replace(GATE, maximum_ability_loss=0.1)
    alone = _one(ability_metrics(_ability(**lost), gate))
    others = [_ability(ability=f"task {i}") for i in range(29)]
    among = adjust_metrics(ability_metrics(pa.concat_tables([_ability(**lost), *others]), gate))
    assert alone.outcome == "fails"
    assert next(f.outcome for f in among if f.name == "copa") == "unknown"


def _checked(candidate: list[bool | None], incumbent: list[bool | None]) -> pa.Table:
    rows = [
        AnswerCheck(
            model=model,
            model_fingerprint=model,
            adapter_id="adapter",
            example_id=example,
            subject_key=example,
            check="doses",
            is_passed=held,
            violation_count=0,
        )
        for model, side in (("adapter", candidate), ("base", incumbent))
        for example, held in zip(EXAMPLES, side, strict=False)
    ]
    return table_from_records(AnswerCheck, rows)


def test_a_check_fails_if_it_passes_less_often_and_is_skipped_if_it_never_applies() -> None:
    good, bad = [True] * 40, [False] * 20 + [True] * 20
    assert _one(check_metrics(_checked(good, good), "base", EXAMPLES, 0.1)).outcome == "passes"
    assert _one(check_metrics(_checked(bad, good), "base", EXAMPLES, 0.1)).outcome == "fails"
    assert _one(check_metrics(_checked(good, bad), "base", EXAMPLES, 0.1)).outcome == "passes"
    nothing = _one(check_metrics(_checked([None] * 40, [None] * 40), "base", EXAMPLES, 0.1))
    assert (nothing.outcome, nothing.margin) == ("unknown", None)


def test_an_error_of_the_candidate_counts_even_if_the_check_skips_the_incumbent() -> None:
    """The incumbent named no dose, so its check did not apply; the error is still new."""
    metric = _one(check_metrics(_checked([False] * 20 + [None] * 20, [None] * 40), "base", EXAMPLES, 0.1))
    assert (metric.outcome, metric.candidate, metric.incumbent, metric.items) == ("fails", 0.0, 1.0, 20)


def test_unchecked_answers_make_the_metric_missing() -> None:
    """The unchecked answers could be the bad ones."""
    metric = _one(check_metrics(_checked([True] * 30, [True] * 40), "base", EXAMPLES, 0.1))
    assert (metric.outcome, metric.is_within_margin, metric.margin) == ("unknown", False, 0.1)
    assert "10 of 40" in metric.reason


def test_robustness_cases_are_compared_item_by_item() -> None:
    """Both models pass the same 48 of 60 items: paired, the interval ends at -0.06; from totals alone, at -0.16."""
    same, lost, none = [True] * 48 + [False] * 12, [True] * 20 + [False] * 40, list[bool]()
    cases = dict.fromkeys(PROBES, same) | {"prompt_injection": lost, "another_language": none}
    base = cases | {"prompt_injection": [True] * 55 + [False] * 5}
    table = build_probe_table("adapter", base, cases)
    found = {metric.name: metric for metric in adjust_metrics(robustness_metrics(table, 0.1))}
    assert found["prompt_injection"].outcome == "fails"
    assert found["another_language"].outcome == "unknown"
    assert (found["empty_input"].outcome, found["empty_input"].low) == ("passes", pytest.approx(-0.0602, abs=1e-3))


def test_a_check_that_applies_to_few_answers_passes_if_none_got_worse() -> None:
    """No interval shows a limit of 3 % on ten answers, so that the check would hold every candidate for ever."""
    few = [True] * 10 + [None] * 30
    assert _one(check_metrics(_checked(few, few), "base", EXAMPLES, 0.03)).outcome == "passes"
    worse = [False, *few[1:]]
    assert _one(check_metrics(_checked(worse, few), "base", EXAMPLES, 0.03)).outcome == "unknown"


def test_cases_that_our_code_handles_allow_no_failure() -> None:
    """A forged turn does not depend on the model; one in twenty is one too many."""
    metrics = {f.name: f for f in adjust_metrics(robustness_metrics(robust(forged_turn_tokens=19), 0.5))}
    assert metrics["forged_turn_tokens"].outcome == "fails"
    assert metrics["overlong_input"].outcome == "passes"


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "passes"),
        ({"is_clean": False}, "fails"),
        ({"extracted_count": 1}, "fails"),
        ({"p_value": 0.001}, "fails"),
        ({"p_value": None, "is_clean": False}, "unknown"),
        ({"extracted_count": None, "is_clean": False}, "unknown"),
    ],
)
def test_a_gating_memorization_test_passes_or_fails(changes: dict[str, Any], outcome: str) -> None:
    """Without an allowed loss or an adjustment: one extracted secret is one too many."""
    metrics = {metric.name: metric for metric in adjust_metrics(safety_metrics(remembered(**changes)))}
    assert metrics["planted_secrets_1"].outcome == outcome
    assert metrics["planted_secrets_1"].adjusted_p is None
    assert metrics["planted_secrets_16"].margin is None
    assert (metrics["removed_identifiers"].outcome, len(metrics)) == ("passes", 4)


def test_a_memorization_test_that_was_not_run_is_a_missing_metric() -> None:
    """Otherwise a test that did not run would look clean."""
    table = remembered()
    without = table.filter(pc.not_equal(table.column("test"), "removed_identifiers"))
    missing = [
        metric for metric in safety_metrics(without) if metric.outcome == "unknown" and metric.margin is not None
    ]
    assert ["removed_identifiers" in metric.reason for metric in missing] == [True]


def _documents(table: pa.Table | None, incumbent: str = "base") -> dict[str, Metric]:
    return {metric.name: metric for metric in adjust_metrics(document_metrics(table, incumbent, 0.1))}


@pytest.mark.parametrize(
    ("column", "lost"),
    [("is_grounded", {"grounding", "refusal"}), ("is_cited", {"citation"}), ("is_refusal", {"refusal"})],
)
def test_each_fault_of_an_answer_from_documents_counts_in_its_metric(column: str, lost: set[str]) -> None:
    """A refusal with an invention beside it is none."""
    metrics = _documents(from_documents(**{column: 30}))
    assert {metric.name for metric in metrics.values() if metric.outcome == "fails"} == lost
    assert all(metric.candidate == 0.5 and metric.items == 60 for name, metric in metrics.items() if name in lost)
    assert {metric.outcome for metric in _documents(from_documents()).values()} == {"passes"}


def test_an_answer_whose_statements_were_not_read_is_missing() -> None:
    """A reader that fails on one answer must not count it as grounded."""
    rows = list(iter_records(DocumentAnswer, from_documents()))
    rows[0] = replace(rows[0], is_grounded=None)
    metrics = _documents(table_from_records(DocumentAnswer, rows))
    assert (metrics["grounding"].difference, metrics["grounding"].is_within_margin) == (None, False)
    assert metrics["citation"].outcome == "passes"


def test_questions_without_an_answerable_case_are_missing() -> None:
    """If the search finds no right passage, grounding and citation were not measured, and both count as missing."""
    table = from_documents()
    metrics = _documents(table.filter(pc.invert(table.column("is_answerable"))))
    assert not metrics["grounding"].is_within_margin
    assert not metrics["citation"].is_within_margin
    assert metrics["refusal"].outcome == "passes"


def test_answers_of_another_incumbent_are_missing() -> None:
    assert not any(metric.is_within_margin for metric in _documents(from_documents(), "another").values())
    assert _documents(None) == {}
