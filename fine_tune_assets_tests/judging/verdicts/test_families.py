"""Each table of stage 7 as figures of a verdict, and what is missing in it."""

import math
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.judging.verdicts.families import (
    abilities,
    checks,
    require_about,
    robustness,
    safety,
    subgroups,
    target,
)
from fine_tune_assets.judging.verdicts.figures import Figure, settle
from fine_tune_assets.judging.verdicts.paired_grades import graded_pairs
from fine_tune_assets.tables.judging import AnswerCheck, RetainedAbility
from fine_tune_assets.tables.records import table_from
from fine_tune_assets_tests.judging.made import GATE, gains, graded, remembered, retained, robust
from fine_tune_assets_tests.made_records import made

EXAMPLES = [f"e{i:02}" for i in range(40)]


def _one(figures: list[Figure]) -> Figure:
    (figure,) = settle(figures)
    return figure


def test_an_answer_without_a_grade_is_in_no_mean_and_never_helps() -> None:
    """A zero would make the model whose judge failed look bad; left out, a bad answer would be worth losing."""
    rows = {**gains([1.0 + i % 3 for i in range(20)]), "bad": (None, 9.0)}
    figure = _one([target(graded_pairs(graded(rows), "base"), GATE)])
    assert (figure.items, figure.candidate, figure.incumbent) == (20, pytest.approx(5.95), 4.0)
    whole = _one([target(graded_pairs(graded(gains([1.0 + i % 3 for i in range(20)])), "base"), GATE)])
    assert (figure.difference, whole.p) == (whole.difference, pytest.approx(1e-4, abs=1e-4))
    assert figure.p is not None
    assert whole.p is not None
    assert figure.p > whole.p


def test_a_grade_that_is_not_a_number_is_missing() -> None:
    """It would make the gain NaN, and that is below no threshold."""
    table = graded({"e1": (6.0, 4.0), "e2": (math.nan, 4.0)})
    assert [pair.is_whole for pair in graded_pairs(table, "base")] == [True, False]


def test_an_incumbent_that_was_not_graded_closes_the_gate() -> None:
    """A comparison with some other model would say nothing about what serves."""
    with pytest.raises(GateClosedError, match="was not graded"):
        graded_pairs(graded(gains([1.0])), "someone else")


def test_different_examples_close_the_gate() -> None:
    table = graded({"e1": (6.0, 4.0), "e2": (6.0, 4.0)})
    halves = [table.filter([True, False, False, True]), table.filter([True, False, True, True])]
    for half in halves:
        with pytest.raises(GateClosedError, match="same examples"):
            graded_pairs(half, "base")


def test_an_example_that_was_graded_twice_closes_the_gate() -> None:
    """Which of the two grades counts would depend on the order of the rows."""
    table = graded(gains([1.0, 2.0]))
    with pytest.raises(GateClosedError, match="graded twice"):
        graded_pairs(pa.concat_tables([table, table]), "base")


def test_a_table_about_another_candidate_closes_the_gate() -> None:
    with pytest.raises(GateClosedError, match="retained_abilities is about another adapter"):
        require_about("other", {"retained_abilities": retained(copa=(0.5, 0.5)), "answer_checks": None})


def test_small_groups_are_named_and_not_tested() -> None:
    """Six examples prove nothing, and would hold up every candidate."""
    pairs = graded_pairs(graded(gains([1.0] * 40)), "base")
    ids = [pair.example_id for pair in pairs]
    small, large = settle(subgroups(pairs, {"site: large": ids[:30], "site: small": ids[30:]}, GATE))[::-1]
    assert (small.outcome, small.margin, small.items) == ("unknown", None, 10)
    assert "fewer than 20" in small.why
    assert (large.outcome, large.margin, large.items) == ("passes", GATE.maximum_group_loss, 30)


def test_a_group_that_fell_by_more_than_its_budget_fails() -> None:
    """A gain of the others does not make up for it."""
    differences = [3.0] * 40 + [-3.0 + (i % 3) / 2 for i in range(24)]
    pairs = graded_pairs(graded(gains(differences, 5.0)), "base")
    ids = [pair.example_id for pair in pairs]
    found = {f.name: f.outcome for f in settle(subgroups(pairs, {"sex: f": ids[40:], "sex: m": ids[:40]}, GATE))}
    assert found == {"sex: f": "fails", "sex: m": "passes"}


def _ability(**changes: Any) -> pa.Table:
    values = {
        "ability": "copa", "adapter_id": "adapter", "items": 200, "base_accuracy": 0.7, "adapter_accuracy": 0.7,
        "base_right_only": 5, "adapter_right_only": 5,
    } | changes  # fmt: skip
    return table_from(RetainedAbility, [made(RetainedAbility, **values)])


@pytest.mark.parametrize(
    ("changes", "outcome", "is_within"),
    [
        ({}, "passes", True),
        ({"adapter_accuracy": 0.3, "base_right_only": 85}, "fails", False),
        ({"adapter_accuracy": 0.58, "base_right_only": 29}, "unknown", False),
        ({"items": 10, "base_right_only": 1, "adapter_right_only": 1}, "unknown", True),
        ({"budget": 0.01}, "passes", True),
        ({"base_right_only": None}, "unknown", True),
        ({"adapter_accuracy": math.nan}, "unknown", False),
        ({"items": 0}, "unknown", False),
    ],
)
def test_an_ability_passes_fails_or_is_open(changes: dict[str, Any], outcome: str, is_within: bool) -> None:
    """200 questions and 10 points of budget, as the recipe says now: the table says what it was when it was made."""
    figure = _one(
        abilities(_ability(**changes), replace(GATE, maximum_ability_loss=0.5, ability_budgets={"copa": 0.1}))
    )
    assert (figure.outcome, figure.is_within) == (outcome, is_within)


def test_holms_adjustment_makes_one_finding_of_many_less_sure() -> None:
    """The same loss that fails alone is open among thirty tasks that lost nothing."""
    lost = {"adapter_accuracy": 0.51, "base_right_only": 43}
    gate = replace(GATE, maximum_ability_loss=0.1)
    alone = _one(abilities(_ability(**lost), gate))
    others = [_ability(ability=f"task {i}") for i in range(29)]
    among = settle(abilities(pa.concat_tables([_ability(**lost), *others]), gate))
    assert alone.outcome == "fails"
    assert next(f.outcome for f in among if f.name == "copa") == "unknown"


def _checked(candidate: list[bool | None], incumbent: list[bool | None]) -> pa.Table:
    rows = [
        AnswerCheck(
            model=model,
            model_fingerprint=model,
            adapter_id="adapter",
            example_id=example,
            patient_key=example,
            check="doses",
            is_held=held,
            found=0,
        )
        for model, side in (("adapter", candidate), ("base", incumbent))
        for example, held in zip(EXAMPLES, side, strict=False)
    ]
    return table_from(AnswerCheck, rows)


def test_a_check_that_holds_less_often_fails_and_one_that_never_applies_asks_nothing() -> None:
    good, bad = [True] * 40, [False] * 20 + [True] * 20
    assert _one(checks(_checked(good, good), "base", EXAMPLES, 0.1)).outcome == "passes"
    assert _one(checks(_checked(bad, good), "base", EXAMPLES, 0.1)).outcome == "fails"
    assert _one(checks(_checked(good, bad), "base", EXAMPLES, 0.1)).outcome == "passes"
    nothing = _one(checks(_checked([None] * 40, [None] * 40), "base", EXAMPLES, 0.1))
    assert (nothing.outcome, nothing.margin) == ("unknown", None)


def test_a_dose_that_only_the_candidate_names_wrongly_counts_against_it() -> None:
    """The incumbent named none, so its check did not apply: the error is new all the same."""
    figure = _one(checks(_checked([False] * 20 + [None] * 20, [None] * 40), "base", EXAMPLES, 0.1))
    assert (figure.outcome, figure.candidate, figure.incumbent, figure.items) == ("fails", 0.0, 1.0, 20)


def test_answers_that_were_not_checked_make_the_figure_missing() -> None:
    """Left out, the unchecked ones could be the bad ones."""
    figure = _one(checks(_checked([True] * 30, [True] * 40), "base", EXAMPLES, 0.1))
    assert (figure.outcome, figure.is_within, figure.margin) == ("unknown", False, 0.1)
    assert "10 of 40 examples were not checked for both" in figure.why


def test_probes_of_robustness_are_compared_by_their_totals() -> None:
    rows = [
        {"probe": "injection", "adapter_id": "adapter", "items": 60, "held": 20, "base_held": 55},
        {"probe": "empty", "adapter_id": "adapter", "items": 60, "held": 60, "base_held": 60},
        {"probe": "long", "adapter_id": "adapter", "items": 0, "held": 0, "base_held": 0},
    ]
    found = {f.name: f.outcome for f in settle(robustness(pa.Table.from_pylist(rows), 0.1))}
    assert found == {"injection": "fails", "empty": "passes", "long": "unknown"}


def test_what_our_own_code_must_hold_has_no_budget() -> None:
    """A report that opens a turn of its own does so whatever the model is; one in twenty is one too many."""
    figures = {f.name: f for f in settle(robustness(robust(forged_turn_tokens=19), 0.5))}
    assert figures["forged_turn_tokens"].outcome == "fails"
    assert figures["over_long_input"].outcome == "passes"


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "passes"),
        ({"is_clean": False}, "fails"),
        ({"extracted": 1}, "fails"),
        ({"p_value": 0.001}, "fails"),
        ({"p_value": None, "is_clean": False}, "unknown"),
        ({"extracted": None, "is_clean": False}, "unknown"),
    ],
)
def test_a_probe_of_memorisation_is_clean_or_it_is_not(changes: dict[str, Any], outcome: str) -> None:
    """No budget, and no adjustment for many probes: one extracted secret is one too many."""
    figures = {figure.name: figure for figure in settle(safety(remembered(**changes)))}
    assert figures["canaries_1"].outcome == outcome
    assert figures["canaries_1"].adjusted_p is None
    assert figures["canaries_16"].margin is None
    assert (figures["removed_identifiers"].outcome, len(figures)) == ("passes", 4)


def test_a_probe_that_nobody_made_is_a_missing_figure() -> None:
    """Nothing found by a probe that was not there would look clean."""
    table = remembered()
    without = table.filter(pc.not_equal(table.column("probe"), "removed_identifiers"))
    missing = [figure for figure in safety(without) if figure.outcome == "unknown" and figure.margin is not None]
    assert ["removed_identifiers" in figure.why for figure in missing] == [True]
