"""Preferences of the judge: counted for the current incumbent only, and without influence on the verdict."""

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pytest

from fine_tune_assets.judging.verdicts.evidence import evidence_json, read_evidence
from fine_tune_assets.judging.verdicts.paired_grades import (
    NO_ANSWER_PREFERRED,
    NOT_COMPARED,
    PREFERENCES_REPEAT_GRADES,
    Preferences,
    describe_preferences,
    summarize_preferences,
)
from fine_tune_assets.judging.verdicts.promotion_rule import decide_promotion
from fine_tune_assets.tables.judging_rows import JudgeScore
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.judging.verdict_inputs import GATE, GOOD_GRADES, GOOD_TABLES, evidence, graded


def _compared(
    preferences: Sequence[float | None],
    consistent: bool | None = True,
    compared_model_fingerprint: str = "base",
    subjects: int = 0,
) -> pa.Table:
    """GOOD_GRADES with preferences for the first examples."""
    given = dict(zip(sorted(GOOD_GRADES), preferences, strict=False))
    whose = {example: f"p-{number % subjects}" for number, example in enumerate(sorted(GOOD_GRADES)) if subjects}
    rows = []
    for row in graded(GOOD_GRADES, whose).to_pylist():
        if row["model"] == "adapter" and row["example_id"] in given:
            row |= {"compared_model_fingerprint": compared_model_fingerprint, "preference": given[row["example_id"]]}
            row |= {"is_position_consistent": consistent, "preference_reason": "log-odds"}
        rows.append({**row, "judge_kind": "folder"})
    return table_from_rows(rows, JudgeScore.SCHEMA)


def test_wins_losses_and_ties_are_counted_and_a_tie_is_half_a_win() -> None:
    found = summarize_preferences(_compared([0.9] * 30 + [0.5] * 10 + [0.2] * 20), "base")
    assert (found.pairs, found.better, found.equal, found.worse, found.missing) == (60, 30, 10, 20, 0)
    assert found.win_share == pytest.approx(35 / 60, abs=1e-6)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 35 / 60 < found.high
    assert (found.position_consistency, found.reason) == (1.0, "")


def test_pairs_of_few_subjects_give_a_wider_interval() -> None:
    """Ten answers about one subject are not independent."""
    won = [0.9 if number % 10 < 5 else 0.1 for number in range(60)]
    many, few = (summarize_preferences(_compared(won, subjects=count), "base") for count in (60, 10))
    widths = [(found.high or 0) - (found.low or 0) for found in (many, few)]
    assert many.win_share == few.win_share == 0.5
    assert widths[1] > 1.5 * widths[0]
    alone = summarize_preferences(_compared(won, subjects=3), "base")
    assert (alone.win_share, alone.low, alone.high) == (0.5, None, None)


def test_a_missing_preference_is_only_counted_as_missing() -> None:
    found = summarize_preferences(_compared([0.9, None, None]), "base")
    assert (found.pairs, found.missing, found.win_share) == (1, 2, 1.0)
    nothing = summarize_preferences(_compared([None, None]), "base")
    assert (nothing.win_share, nothing.missing, nothing.position_consistency, nothing.reason) == (
        None,
        2,
        None,
        NO_ANSWER_PREFERRED,
    )


def test_comparisons_with_another_model_do_not_count() -> None:
    """After a rollback another model is in production, and a preference over the former one says nothing about it."""
    found = summarize_preferences(_compared([0.9] * 60, compared_model_fingerprint="former"), "base")
    assert (found.pairs, found.win_share, found.reason) == (0, None, NOT_COMPARED)


def test_the_verifier_has_no_preference_but_a_reason() -> None:
    rows = [{**row, "judge_kind": "verifier"} for row in graded(GOOD_GRADES).to_pylist()]
    found = summarize_preferences(table_from_rows(rows, JudgeScore.SCHEMA), "base")
    assert (found.win_share, found.reason) == (None, PREFERENCES_REPEAT_GRADES)
    assert describe_preferences(found) == PREFERENCES_REPEAT_GRADES


def test_the_description_contains_every_count() -> None:
    found = Preferences(40, 2, 24, 6, 10, 0.675, 0.5, 0.8, 0.9, "")
    described = describe_preferences(found)
    for part in ("68% of 40", "95 % 50% to 80%", "24 better", "10 worse", "6 equal", "90%", "2 pairs"):
        assert part in described


@pytest.mark.parametrize("preference", [0.0, 0.5, 1.0, None])
def test_no_preference_opens_or_closes_the_gate(preference: float | None) -> None:
    """Qualification measures grades; the agreement of preferences with people is not measured."""
    found = evidence(replace(GOOD_TABLES, judge_scores=_compared([preference] * 60)))
    assert found.preferences.win_share == preference
    assert decide_promotion(found, GATE) == decide_promotion(evidence(), GATE)
    assert decide_promotion(found, GATE).decision == "promote"


def test_preferences_are_in_the_document() -> None:
    found = evidence(replace(GOOD_TABLES, judge_scores=_compared([0.9] * 60)))
    assert read_evidence(evidence_json(found)).preferences == found.preferences
