"""The gate: a pure function of the evidence, and every way in which it closes."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.core.missing_grades import why_unsignable
from fine_tune_assets.judging.verdicts.evidence import Tables, evidence_json, gate_of, gather, read_evidence
from fine_tune_assets.judging.verdicts.figures import Figure
from fine_tune_assets.judging.verdicts.promotion_rule import Decided, against_its_harms, against_the_gain, decide
from fine_tune_assets.recipes.schema import GateSettings
from fine_tune_assets.tables.judging import JudgeAgreement, JudgeScore
from fine_tune_assets.tables.records import table_of
from fine_tune_assets_tests.judging.made import (
    CANDIDATE,
    GATE,
    GOOD_GRADES,
    GOOD_TABLES,
    JUDGE,
    STRICT,
    agreement,
    checked,
    evidence,
    gains,
    graded,
    remembered,
    retained,
    robust,
)

RANK = {"refuse": 0, "hold": 1, "promote": 2}
EVERYTHING = replace(GATE, requires=("abilities", "checks", "safety", "robustness", "subgroups"))


def _decided(gate: GateSettings = GATE, **changes: Any) -> Decided:
    gathered = changes.pop("gathered", {})
    return decide(evidence(replace(GOOD_TABLES, **changes), gate, **gathered), gate)


def test_a_clearly_better_candidate_with_all_its_evidence_is_promoted() -> None:
    """The refusals below mean nothing if nothing could pass."""
    decided = _decided()
    assert decided.decision == "promote", decided.reasons
    assert decided.reasons[0].startswith("Better than the incumbent by ")
    assert "(95 % interval " in decided.reasons[0]


@pytest.mark.parametrize(
    ("changes", "decision", "reason"),
    [
        (
            {"judge_scores": graded(gains([-1.0 + (i % 5) / 4 for i in range(40)]))},
            "refuse",
            "Worse than the incumbent",
        ),
        ({"retained_abilities": retained(copa=(0.9, 0.3))}, "refuse", "Forgets copa"),
        ({"retained_abilities": retained(copa=(0.6, 0.35))}, "hold", "Forgets copa, as measured"),
        (
            {"judge_scores": graded(gains([0.1, 2.0, -1.5, -0.2, 0.9] * 5))},
            "hold",
            "would be enough to find a gain of 0.50",
        ),
        ({"judge_scores": graded(gains([1.0, 2.0, 1.5]))}, "hold", "Not enough evidence: 3 test examples"),
        ({"judge_scores": graded(dict.fromkeys("abcdef", (None, 4.0)))}, "hold", "6 of 6 test examples"),
        (
            {"judge_scores": graded({**GOOD_GRADES, **dict.fromkeys("abcdef", (9.0, None))})},
            "hold",
            "6 of 66 test examples",
        ),
        ({"judge_agreement": agreement(judge="another")}, "hold", "not measured against experts"),
        ({"judge_agreement": agreement(0.1)}, "hold", "The judge may not decide"),
        ({"judge_agreement": agreement(math.nan)}, "hold", "The judge may not decide"),
        ({"retained_abilities": None}, "hold", "Retained abilities were not measured"),
        ({"retained_abilities": retained(other=(0.6, 0.6))}, "hold", "copa was not measured"),
        ({"retained_abilities": retained(copa=(0.6, math.nan))}, "hold", "copa is missing"),
    ],
)
def test_the_gate_closes(changes: dict[str, Any], decision: str, reason: str) -> None:
    """A bad figure refuses, a missing one holds, and the reason is in plain words."""
    decided = _decided(**changes)
    assert decided.decision == decision, decided.reasons
    assert any(reason in given for given in decided.reasons), decided.reasons


def test_the_model_that_serves_is_no_candidate() -> None:
    tables = replace(GOOD_TABLES, judge_scores=graded(GOOD_GRADES))
    same = replace(evidence(tables), incumbent="adapter")
    assert decide(same, GATE).decision == "hold"


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("checks", "The answers were not checked"),
        ("safety", "Memorisation was not probed"),
        ("robustness", "Robustness was not probed"),
        ("subgroups", "No group of examples was compared"),
    ],
)
def test_what_the_recipe_requires_and_nobody_measured_holds(family: Any, reason: str) -> None:
    decided = _decided(replace(GATE, requires=("abilities", family)))
    assert decided.decision == "hold"
    assert reason in " ".join(decided.reasons)


def test_a_secret_that_was_extracted_refuses() -> None:
    """No gain makes up for it, and no signature."""
    leaked = remembered(extracted=1, p_value=0.001, is_clean=False, why="1 of 20 canaries was extracted.")
    decided = _decided(memorization_probes=leaked)
    assert decided == Decided("refuse", ("Memorised training data (canaries_1). 1 of 20 canaries was extracted.",))


def test_a_candidate_that_was_measured_in_every_way_is_promoted() -> None:
    """With everything required: else the gate could never open."""
    whole = replace(
        GOOD_TABLES,
        answer_checks=checked(GOOD_TABLES.judge_scores),
        robustness_probes=robust(),
        memorization_probes=remembered(),
    )
    ids = sorted(GOOD_GRADES)
    groups = {"site: one": ids[:30], "site: two": ids[30:]}
    assert decide(evidence(whole, EVERYTHING, groups), EVERYTHING).decision == "promote"


def test_a_report_that_opens_a_turn_of_its_own_refuses() -> None:
    """Our own code's fault has no difference to be told; the verdict must be reached all the same."""
    decided = _decided(robustness_probes=robust(forged_turn_tokens=19))
    assert decided == Decided(
        "refuse", ("Less robust (forged_turn_tokens). 1 of 20 got through: our own code let them.",)
    )


def test_canaries_that_the_recipe_asks_for_and_that_decided_nothing_hold() -> None:
    """Measured before the recipe asked for them, or by other settings: what is shown only is no figure that decides."""
    shown = evidence(
        replace(GOOD_TABLES, memorization_probes=remembered(decides=False)),
        expected={"abilities": ["copa"], "safety": ["canaries_1"]},
    )
    decided = decide(shown, GATE)
    assert decided.decision == "hold"
    assert "canaries_1 was not measured (safety)." in decided.reasons


def test_a_loss_within_its_budget_that_is_not_shown_holds_where_the_recipe_wants_it_shown() -> None:
    """The number of items that would be enough stands in the reason."""
    few = retained(copa=(0.6, 0.55))
    assert _decided(GATE, retained_abilities=few).decision == "promote"
    decided = _decided(STRICT, retained_abilities=few)
    assert decided.decision == "hold"
    assert "Not shown to be as good: copa" in decided.reasons[0]
    assert "items would be enough to tell" in decided.reasons[0]


def test_a_gain_below_the_recipes_minimum_is_refused_in_its_own_words() -> None:
    """It is better, and not by what was asked for."""
    decided = _decided(replace(GATE, minimum_gain=2.0))
    assert decided.decision == "refuse"
    assert decided.reasons[0].startswith("Gains less than the 2.00 points")


def test_grades_that_are_missing_are_the_worst_that_they_can_be() -> None:
    """Two of 42 are within the recipe's share; with the worst grades the gain is not shown any more."""
    weak = gains([0.25 + (i % 9 - 4) / 8 for i in range(40)], 9.0)
    assert _decided(judge_scores=graded(weak)).decision == "promote"
    decided = _decided(judge_scores=graded({**weak, "x": (None, 9.0), "y": (None, 9.0)}))
    assert decided.decision == "hold"
    assert "with the worst that they can be" in decided.reasons[0]


BAD_REST = graded({**gains([-2.0 + (i % 5) / 4 for i in range(20)]), **{f"x{i}": (None, 4.0) for i in range(60)}})
"""20 grades that say "worse", of 80 examples."""


def test_with_too_many_grades_missing_the_rest_neither_refuses_nor_lets_through() -> None:
    """A refusal can't be signed away: it must not come from the few grades of a judge that failed on most."""
    groups = {"site: one": [f"e{i:03}" for i in range(20)]}
    decided = _decided(replace(GATE, minimum_group_examples=8), judge_scores=BAD_REST, gathered={"groups": groups})
    assert decided.decision == "hold"
    assert decided.reasons == (
        "60 of 80 test examples have no grade, more than the 5% that the recipe allows: grades decide nothing. Run "
        "`fine-tune materialize judge_scores`.",
    )
    whole = _decided(judge_scores=graded(gains([-2.0 + (i % 5) / 4 for i in range(20)])))
    assert whole.decision == "refuse"


def test_what_is_measured_without_grades_refuses_all_the_same() -> None:
    """A secret that came back is no less bad where the judge was away."""
    leaked = remembered(extracted=1, p_value=0.001, is_clean=False, why="1 of 20 canaries was extracted.")
    decided = _decided(judge_scores=BAD_REST, memorization_probes=leaked)
    assert decided == Decided("refuse", ("Memorised training data (canaries_1). 1 of 20 canaries was extracted.",))
    forgetful = _decided(judge_scores=BAD_REST, retained_abilities=retained(copa=(0.9, 0.3)))
    assert forgetful.decision == "refuse"
    assert "Forgets copa" in forgetful.reasons[0]


def test_the_hold_for_missing_grades_is_the_one_that_nobody_can_sign() -> None:
    """The ledger reads the rule out of the document that the gate wrote."""
    few, enough = (evidence(replace(GOOD_TABLES, judge_scores=scores)) for scores in (BAD_REST, graded(GOOD_GRADES)))
    assert why_unsignable(evidence_json(few)) in decide(few, GATE).reasons
    assert why_unsignable(evidence_json(enough)) == ""
    assert against_the_gain(few, GATE) == decide(few, GATE).reasons


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
    """The same evidence to the last bit, but for the fingerprint of the table itself."""
    rows = _grades(pairs)
    names = list(rows)
    random.shuffle(names)
    one, other = _of(rows), _of({name: rows[name] for name in names})
    assert one.figures == other.figures
    assert (one.power, one.distributions, one.expected) == (other.power, other.distributions, other.expected)
    assert decide(one, GATE) == decide(other, GATE)


@given(GRADES, st.integers(0, 39), st.floats(0.25, 9), st.sampled_from([GATE, STRICT]))
@settings(max_examples=10, deadline=None)
def test_a_worse_answer_never_helps(pairs: Any, place: int, less: float, gate: GateSettings) -> None:
    """Whatever else is in the evidence."""
    rows = _grades(pairs)
    name = list(rows)[place % len(rows)]
    worse = {**rows, name: (max(1.0, rows[name][0] - less), rows[name][1])}
    assert RANK[decide(_of(worse), gate).decision] <= RANK[decide(_of(rows), gate).decision]


@given(GRADES, st.integers(0, 39), st.booleans())
@settings(max_examples=10, deadline=None)
def test_a_missing_grade_never_promotes(pairs: Any, place: int, of_candidate: bool) -> None:
    """Neither the candidate's nor the incumbent's: a judge that fails on the bad answers would be a way in."""
    rows = _grades(pairs)
    name = list(rows)[place % len(rows)]
    gone = {**rows, name: (None, rows[name][1]) if of_candidate else (rows[name][0], None)}
    if decide(_of(rows), GATE).decision != "promote":
        assert decide(_of(gone), GATE).decision != "promote"


@given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 30), st.sampled_from([GATE, STRICT]))
@settings(max_examples=10, deadline=None)
def test_forgetting_more_never_helps(base: int, adapter: int, less: int, gate: GateSettings) -> None:
    before = _of(GOOD_GRADES, ability=(base / 100, adapter / 100))
    after = _of(GOOD_GRADES, ability=(base / 100, max(0, adapter - less) / 100))
    assert RANK[decide(after, gate).decision] <= RANK[decide(before, gate).decision]


@given(st.data(), st.sampled_from([GATE, STRICT]))
@settings(max_examples=10, deadline=None)
def test_no_figure_that_is_taken_away_leads_to_a_promotion(data: Any, gate: GateSettings) -> None:
    """Any figure, whatever it said: gone, or there without its numbers."""
    grades = data.draw(GRADES)
    ability = (data.draw(st.integers(0, 100)) / 100, data.draw(st.integers(0, 100)) / 100)
    whole = _of(_grades(grades), ability=ability)
    place = data.draw(st.integers(0, len(whole.figures) - 1))
    figure = whole.figures[place]
    rest = tuple(other for other in whole.figures if other is not figure)
    for figures in (rest, (*rest, _without_numbers(figure))):
        assert decide(replace(whole, figures=figures), gate).decision != "promote"


def _without_numbers(figure: Figure) -> Figure:
    numbers = dict.fromkeys(("candidate", "incumbent", "difference", "low", "high", "p", "adjusted_p"))
    return replace(figure, **numbers, outcome="unknown", is_within=False)


@given(st.sets(st.sampled_from(["agreement", "licensed"]), min_size=1))
def test_a_judge_without_a_licence_never_promotes(missing: set[str]) -> None:
    good = evidence()
    judge = replace(
        good.judge,
        agreement=None if "agreement" in missing else good.judge.agreement,
        licensed="licensed" not in missing,
    )
    assert decide(replace(good, judge=judge), GATE).decision == "hold"


def test_a_judge_without_a_licence_still_closes_the_gate() -> None:
    """A licence is for opening it: what any judge finds clearly worse is not for a signature to serve."""
    worse = graded(gains([-1.0 + (i % 5) / 4 for i in range(40)]))
    decided = _decided(judge_scores=worse, judge_agreement=agreement(0.1))
    assert decided.decision == "refuse"
    assert decided.reasons[0].startswith("Worse than the incumbent")


def test_the_document_has_what_readers_of_it_ask_for() -> None:
    """Its keys are a contract: the desk, the checks and an auditor's program read them."""
    document = json.loads(evidence_json(evidence()))
    assert set(document) == {
        "adapter_id", "base_fingerprint", "instruction_set_fingerprint", "recipe_fingerprint", "incumbent", "judge", "gate",
        "figures", "expected", "missing_grades", "power", "distributions", "fingerprints",
        "preferences", "on_peoples_scale",
    }  # fmt: skip
    assert set(document["judge"]) == {
        "version", "kind", "agreement", "floor", "licensed", "why_not", "cannot_see", "labelled_sets",
    }  # fmt: skip
    assert {"family", "name", "unit", "candidate", "incumbent", "difference", "low", "high", "p", "adjusted_p", "items",
            "margin", "outcome", "why"} <= set(document["figures"][0])  # fmt: skip
    assert {"examples", "needed", "detectable"} <= set(document["power"])
    assert sum(count for _, _, count in document["distributions"]["candidate"]) == 60
    assert {"judge_scores", "judge_agreement", "retained_abilities", "adapter", "recipe"} <= set(
        document["fingerprints"]
    )


def test_the_document_names_the_rated_answers_behind_the_licence_and_whatever_else_was_asked() -> None:
    """An auditor who has the files can tell whether they are the ones."""
    made = gather(CANDIDATE, GOOD_TABLES, {}, GATE, JUDGE, {}, {"ability_questions_copa": "questions-1"})
    assert made.judge.labelled_sets == {"rated_summaries": "labelled"}
    assert made.fingerprints["labelled_set_rated_summaries"] == "labelled"
    assert made.fingerprints["ability_questions_copa"] == "questions-1"


def test_the_document_says_what_the_judge_can_not_see() -> None:
    """A high grade is no proof that nothing was made up."""
    assert "hallucination" in evidence().judge.cannot_see


def _with_map(knots: list[list[float]], spearman: float = 0.5) -> Any:
    row = agreement(spearman).to_pylist()[0]
    scores = [{**row, "task": "summary"} for row in GOOD_TABLES.judge_scores.to_pylist()]
    measured = table_of([{**row, "calibration": json.dumps(knots)}], JudgeAgreement.SCHEMA)
    return evidence(replace(GOOD_TABLES, judge_agreement=measured, judge_scores=table_of(scores, JudgeScore.SCHEMA)))


def test_what_people_would_have_said_is_shown_and_decides_nothing() -> None:
    """Beyond its ends a map is level: there it would hide that a candidate got worse."""
    halved = _with_map([[1.0, 1.0], [10.0, 5.5]])
    assert halved.on_peoples_scale is not None
    target = halved.target
    assert target is not None
    assert target.candidate is not None
    assert halved.on_peoples_scale.candidate == pytest.approx(1 + (target.candidate - 1) / 2, abs=0.01)
    assert halved.on_peoples_scale.labelled_sets == ("rated_summaries",)
    level = _with_map([[1.0, 5.0], [2.0, 5.1]])
    assert (level.figures, decide(level, GATE)) == (halved.figures, decide(halved, GATE))


def test_without_a_licence_nothing_is_put_on_peoples_scale() -> None:
    """A judge that people disagree with has no map to their grades."""
    assert _with_map([[1.0, 1.0], [10.0, 5.5]], spearman=0.1).on_peoples_scale is None


def test_the_decision_follows_from_the_document_alone() -> None:
    """Whoever has the document can decide again."""
    for gate in (GATE, STRICT):
        for grades in (GOOD_GRADES, gains([0.1, -0.1] * 20), gains([-2.0, -1.0] * 20)):
            made = evidence(replace(GOOD_TABLES, judge_scores=graded(grades)), gate)
            again = read_evidence(evidence_json(made))
            assert decide(again, gate_of(again)) == decide(made, gate)
            assert evidence_json(again) == evidence_json(made)


def test_the_checks_give_the_reasons_of_the_verdict() -> None:
    """A check that says something else than the verdict would be a second gate."""
    bad = evidence(
        Tables(graded(gains([-2.0, -1.0] * 20)), agreement(), retained(copa=(0.9, 0.2))), candidate=CANDIDATE
    )
    assert (*against_the_gain(bad, GATE), *against_its_harms(bad, GATE)) == decide(bad, GATE).reasons
    assert against_the_gain(evidence(), GATE) == against_its_harms(evidence(), GATE) == ()
