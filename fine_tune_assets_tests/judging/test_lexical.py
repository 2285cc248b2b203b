"""The judge without a model: what it rewards, what it punishes, and how well it agrees with clinicians."""

import csv
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.judging.agreement import licensed_agreement, measure_agreement
from fine_tune_assets.judging.lexical import grade_answer, judge_version

INPUT = "Doctor: How long? Patient: Three weeks. I take 40 mg of lisinopril. No fever."
REFERENCE = "Cough for three weeks. Takes lisinopril 40 mg. Denies fever."
RATED = PROJECT_DIR / "data" / "evaluation" / "judge" / "rated_summaries.csv"


def _score(answer: str) -> float:
    score = grade_answer(INPUT, REFERENCE, answer).score
    assert score is not None
    return score


def test_the_reference_itself_has_the_highest_grade() -> None:
    assert _score(REFERENCE) == pytest.approx(10.0, abs=1e-9)


def test_an_omission_and_a_ramble_both_cost() -> None:
    """Recall alone would reward an answer that repeats the whole conversation."""
    assert _score("Cough for three weeks.") < _score(REFERENCE)
    assert _score(f"{REFERENCE} {INPUT} {INPUT}") < _score(REFERENCE)


def test_a_number_that_the_input_does_not_hold_costs_a_point() -> None:
    """A wrong dose is the worst mistake such a text can make."""
    wrong = grade_answer(INPUT, REFERENCE, REFERENCE.replace("40 mg", "80 mg"))
    assert wrong.unsupported_numbers == 1
    assert wrong.score is not None
    assert wrong.score <= _score(REFERENCE) - 1


def test_without_a_reference_the_grade_is_missing() -> None:
    """Missing, with a reason, and not a low grade."""
    grade = grade_answer(INPUT, " ", "Cough.")
    assert grade.score is None
    assert "reference" in grade.reason


def test_an_empty_answer_has_the_lowest_grade() -> None:
    assert _score("  ") == 1.0


def test_the_judge_agrees_with_clinicians_as_documented() -> None:
    """The figure in the judge's own docstring and in the README is this one: it must stay true."""
    table = measure_agreement(RATED)
    found = {row["human_measure"]: row["spearman"] for row in table.to_pylist()}
    assert found["FactualF1"] == pytest.approx(0.53, abs=0.05)
    assert found["OmissionRate"] == pytest.approx(-0.70, abs=0.05)
    assert licensed_agreement(table, judge_version()) == found["FactualF1"]


def test_an_agreement_of_another_judge_licenses_nothing() -> None:
    assert licensed_agreement(measure_agreement(RATED), "another version") is None


def test_ratings_that_are_all_equal_license_nothing(tmp_path: Path) -> None:
    """There is no correlation then: NaN, which would be below no floor."""
    with RATED.open(encoding="utf-8-sig", newline="") as file:
        rows = [{**row, "FactualF1": "1.0"} for row in csv.DictReader(file)][:12]
    with (tmp_path / "rated.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert licensed_agreement(measure_agreement(tmp_path / "rated.csv"), judge_version()) is None


def test_without_rated_answers_no_judge_is_licensed(tmp_path: Path) -> None:
    with pytest.raises(GateClosedError, match="no judge is licensed"):
        measure_agreement(tmp_path / "absent.csv")
