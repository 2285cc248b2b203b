"""Which answers the judge prefers: counted honestly, about this incumbent only, and without a say in the verdict."""

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pytest

from fine_tune_assets.judging.verdicts.evidence import evidence_json, read_evidence
from fine_tune_assets.judging.verdicts.paired_grades import (
    NONE_GIVEN,
    NOT_ASKED,
    OFFLINE,
    Preferences,
    in_words,
    preferences_in,
)
from fine_tune_assets.judging.verdicts.promotion_rule import decide
from fine_tune_assets.tables.judging import JudgeScore
from fine_tune_assets.tables.records import table_of
from fine_tune_assets_tests.judging.made import GATE, GOOD_GRADES, GOOD_TABLES, evidence, graded


def _asked(
    preferences: Sequence[float | None], consistent: bool | None = True, compared_with: str = "base", patients: int = 0
) -> pa.Table:
    """GOOD_GRADES with a preference for the first examples' answers of the candidate."""
    given = dict(zip(sorted(GOOD_GRADES), preferences, strict=False))
    whose = {example: f"p-{number % patients}" for number, example in enumerate(sorted(GOOD_GRADES)) if patients}
    rows = []
    for row in graded(GOOD_GRADES, whose).to_pylist():
        if row["model"] == "adapter" and row["example_id"] in given:
            row |= {"compared_with": compared_with, "preference": given[row["example_id"]]}
            row |= {"is_consistent": consistent, "preference_reason": "log-odds"}
        rows.append({**row, "judge_kind": "folder"})
    return table_of(rows, JudgeScore.SCHEMA)


def test_wins_losses_and_ties_are_counted_and_a_tie_is_half_a_win() -> None:
    found = preferences_in(_asked([0.9] * 30 + [0.5] * 10 + [0.2] * 20), "base")
    assert (found.pairs, found.better, found.equal, found.worse, found.missing) == (60, 30, 10, 20, 0)
    assert found.share == pytest.approx(35 / 60, abs=1e-6)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 35 / 60 < found.high
    assert (found.consistent, found.why) == (1.0, "")


def test_pairs_of_few_patients_say_less_than_as_many_of_many() -> None:
    """Ten answers about one patient are not ten independent ones."""
    won = [0.9 if number % 10 < 5 else 0.1 for number in range(60)]
    many, few = (preferences_in(_asked(won, patients=count), "base") for count in (60, 10))
    widths = [(found.high or 0) - (found.low or 0) for found in (many, few)]
    assert many.share == few.share == 0.5
    assert widths[1] > 1.5 * widths[0]
    alone = preferences_in(_asked(won, patients=3), "base")
    assert (alone.share, alone.low, alone.high) == (0.5, None, None)


def test_a_preference_that_is_missing_is_counted_as_missing_and_as_nothing_else() -> None:
    found = preferences_in(_asked([0.9, None, None]), "base")
    assert (found.pairs, found.missing, found.share) == (1, 2, 1.0)
    nothing = preferences_in(_asked([None, None]), "base")
    assert (nothing.share, nothing.missing, nothing.consistent, nothing.why) == (None, 2, None, NONE_GIVEN)


def test_what_was_compared_with_another_model_does_not_count() -> None:
    """After a rollback another model serves: a preference to the former one says nothing about it."""
    found = preferences_in(_asked([0.9] * 60, compared_with="former"), "base")
    assert (found.pairs, found.share, found.why) == (0, None, NOT_ASKED)


def test_the_offline_judge_has_no_preference_and_says_why() -> None:
    rows = [{**row, "judge_kind": "offline"} for row in graded(GOOD_GRADES).to_pylist()]
    found = preferences_in(table_of(rows, JudgeScore.SCHEMA), "base")
    assert (found.share, found.why) == (None, OFFLINE)
    assert in_words(found) == OFFLINE


def test_it_is_said_in_words() -> None:
    found = Preferences(40, 2, 24, 6, 10, 0.675, 0.5, 0.8, 0.9, "")
    assert in_words(found) == (
        "Shown both answers in both orders, the judge prefers the candidate's in 68% of 40 pairs (95 % 50% to 80%): 24 better, "
        "10 worse, 6 equal. Both orders agree in 90%. 2 pairs have no preference."
    )


@pytest.mark.parametrize("preference", [0.0, 0.5, 1.0, None])
def test_no_preference_opens_or_closes_the_gate(preference: float | None) -> None:
    """Nobody measured whether people agree with these choices: the licence is for grades."""
    found = evidence(replace(GOOD_TABLES, judge_scores=_asked([preference] * 60)))
    assert found.preferences.share == preference
    assert decide(found, GATE) == decide(evidence(), GATE)
    assert decide(found, GATE).decision == "promote"


def test_it_is_in_the_document() -> None:
    found = evidence(replace(GOOD_TABLES, judge_scores=_asked([0.9] * 60)))
    assert read_evidence(evidence_json(found)).preferences == found.preferences
