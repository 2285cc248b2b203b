"""Measuring a judge: on judges whose grades are known beforehand."""

import csv
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.progress import Progress, silent
from fine_tune_assets.judging.judges.agreement import MAJORITY, measure_agreement
from fine_tune_assets.judging.judges.grades import Answered, Grade, JudgeKind, Pair, Preference
from fine_tune_assets.judging.judges.labelled_sets import (
    ChosenPair,
    LabelledSet,
    PairSet,
    Rated,
    RatedSet,
    own_expert_sets,
    read_labelled_sets,
)
from fine_tune_assets.judging.judges.qualification import licence_of

JUDGE = PROJECT_DIR / "data" / "evaluation" / "judge"


@dataclass
class Formula:
    """A judge by any formula over the answer's text, which is a number here."""

    formula: Callable[[str], float | None]
    probability: Callable[[Pair], float | None] = field(default=lambda _: 0.9)
    version: str = "formula"
    kind: JudgeKind = "offline"
    is_consistent: bool = True

    def afresh(self) -> "Formula":
        return self

    def grade(self, answers: Sequence[Answered], _progress: Progress) -> list[Grade]:
        return [Grade(self.formula(answer.output), "by formula") for answer in answers]

    def compare(self, pairs: Sequence[Pair], _progress: Progress) -> list[Preference]:
        return [Preference(self.probability(pair), self.is_consistent, "by formula") for pair in pairs]


class FittedFormula(Formula):
    fitted_on = frozenset({"text 0", "text 1"})


def _rated(number: int, rating: float, measure: str = "FactualF1") -> Rated:
    answered = Answered(str(number), "", "Summarise.", f"input {number // 4}", f"{number:03d}", "reference")
    return Rated(answered, f"text {number // 4}", {measure: rating})


RATED = RatedSet("rated_summaries", "set-1", None, tuple(_rated(n, n / 40) for n in range(40)))


def _row(judge: Formula, labelled: LabelledSet, accept_score: float = 7.0) -> dict[str, Any]:
    (row,) = measure_agreement(judge, [labelled], accept_score, silent).to_pylist()
    return row  # type: ignore[no-any-return]


def _truth(text: str) -> float:
    return 1 + 9 * int(text) / 40


def test_a_judge_that_grades_like_people_agrees_wholly() -> None:
    row = _row(Formula(_truth), RATED)
    assert (row["spearman"], row["answers"], row["missing"], row["fitted"]) == (pytest.approx(1.0, abs=1e-9), 40, 0, 0)
    assert (row["sensitivity"], row["specificity"]) == (1.0, 1.0)
    assert row["human_threshold"] == pytest.approx(2 / 3, abs=1e-9)
    assert (row["repeated_equal"], row["repeated_difference"]) == (1.0, 0.0)
    table = measure_agreement(Formula(_truth), [RATED], 7.0, silent)
    assert licence_of(table, "formula", "any", 0.9).agreement == row["spearman"]


def test_a_judge_that_accepts_everything_has_no_specificity() -> None:
    """Sensitivity alone would praise it."""
    row = _row(Formula(lambda text: 9 + int(text) / 100), RATED)
    assert (row["sensitivity"], row["specificity"]) == (1.0, 0.0)


def test_a_judge_is_not_measured_on_texts_that_it_learned_from() -> None:
    """Or its agreement would be that of an exam whose answers were known."""
    row = _row(FittedFormula(_truth), RATED)
    assert (row["answers"], row["fitted"]) == (32, 8)


def test_one_that_answers_otherwise_each_time_is_found_out() -> None:
    """A grade that moves by itself moves a promotion."""
    dice = random.Random(1)
    row = _row(Formula(lambda text: _truth(text) + dice.random()), RATED)
    assert row["repeated_equal"] == 0.0
    assert row["repeated_difference"] > 0.1


def test_a_grade_that_is_missing_is_counted_and_not_zero() -> None:
    row = _row(Formula(lambda text: None if int(text) % 2 else _truth(text)), RATED)
    assert (row["answers"], row["missing"]) == (20, 20)
    assert row["spearman"] == pytest.approx(1.0, abs=1e-9)
    table = measure_agreement(Formula(lambda text: None if int(text) % 2 else _truth(text)), [RATED], 7.0, silent)
    assert "without a grade" in licence_of(table, "formula", "any", 0.0).why_not


@pytest.mark.parametrize(
    ("formula", "why"),
    [(lambda _: None, "by formula"), (lambda _: 5.0, "all alike"), (lambda _: math.nan, "by formula")],
)
def test_what_can_not_be_measured_licenses_nothing(formula: Callable[[str], float | None], why: str) -> None:
    """No figure, with the reason, and never a guess."""
    judge = Formula(formula)
    row = _row(judge, RATED)
    assert row["spearman"] is None
    assert why in row["why"]
    licence = licence_of(measure_agreement(judge, [RATED], 7.0, silent), "formula", "any", -1.0)
    assert licence.agreement is None
    assert licence.why_not


def test_another_version_of_the_judge_is_not_licensed() -> None:
    table = measure_agreement(Formula(_truth), [RATED], 7.0, silent)
    assert "not measured" in licence_of(table, "another", "any", -1.0).why_not


def test_own_experts_are_a_row_for_each_task() -> None:
    """What a judge is good at differs by task."""
    plan = [("plan", float(1 + n % 9), replace(RATED.rows[n].answered, task="plan")) for n in range(20)]
    letter = [("letter", 10.0 - n % 9, replace(RATED.rows[n].answered, task="letter")) for n in range(20)]
    rows = measure_agreement(
        Formula(lambda text: 1.0 + int(text) % 9), own_expert_sets([*plan, *letter]), 7.0, silent
    ).to_pylist()
    found = {(row["labelled_set"], row["human_measure"], row["task"]): row["spearman"] for row in rows}
    assert found[("own_experts", "score", "plan")] == pytest.approx(1.0, abs=1e-9)
    assert found[("own_experts", "score", "letter")] == pytest.approx(-1.0, abs=1e-9)


def _chosen(number: int, labels: tuple[int, ...]) -> ChosenPair:
    pair = Pair(str(number), "", f"Question {number}", "", "long answer", "short", None)
    return ChosenPair(pair, f"question {number}", labels)


PAIRS = PairSet(
    "pairs",
    "set-2",
    (
        *(_chosen(n, (1, 1, 0)) for n in range(10)),
        *(_chosen(n, (2, 2, 2)) for n in range(10, 30)),
        _chosen(30, (0, 1, 2)),
    ),
)


def test_a_judge_that_always_says_the_first_agrees_by_chance_only() -> None:
    """It is right as often as people say so; beyond chance there is nothing. What people did not agree on is left out."""
    row = _row(Formula(_truth), PAIRS)
    assert (row["human_measure"], row["answers"]) == (MAJORITY, 30)
    assert row["accuracy"] == pytest.approx(1 / 3, abs=1e-9)
    assert row["kappa"] == pytest.approx(0.0, abs=1e-9)
    assert (row["judge_prefers_longer"], row["people_prefer_longer"]) == (1.0, pytest.approx(1 / 3, abs=1e-9))


def test_one_that_is_not_consistent_when_swapped_is_found_out() -> None:
    assert _row(Formula(_truth, is_consistent=False), PAIRS)["consistent"] == 0.0
    assert _row(Formula(_truth), PAIRS)["consistent"] == 1.0


def test_no_preference_is_a_tie_and_not_a_guess() -> None:
    row = _row(Formula(_truth, probability=lambda _: 0.5), PAIRS)
    assert (row["accuracy"], row["judge_prefers_longer"]) == (0.0, None)


def test_pairs_that_can_not_be_compared_have_a_reason_and_no_figures() -> None:
    row = _row(Formula(_truth, probability=lambda _: None), PAIRS)
    assert (row["answers"], row["missing"], row["accuracy"], row["kappa"]) == (0, 30, None, None)
    assert row["why"] == "by formula"


def _shuffled(path: Path, to: Path) -> None:
    if path.suffix == ".json":
        rows = json.loads(path.read_text(encoding="utf-8"))
        random.Random(3).shuffle(rows)
        to.write_text(json.dumps(rows), encoding="utf-8")
        return
    with path.open(encoding="utf-8-sig", newline="") as file, to.open("w", encoding="utf-8", newline="") as other:
        table = list(csv.DictReader(file))
        random.Random(3).shuffle(table)
        writer = csv.DictWriter(other, table[0])
        writer.writeheader()
        writer.writerows(table)


def test_shuffled_rows_give_the_same_figures(tmp_path: Path) -> None:
    """To the last digit, or the same evidence would give another verdict."""
    (tmp_path / "llmbar").mkdir()
    names = ("rated_summaries.csv", "llmbar/LLMBar_Natural.json")
    for name in names:
        _shuffled(JUDGE / name, tmp_path / name)
    by_length = Formula(lambda text: 1 + len(text) * 37 % 91 / 10, lambda pair: len(pair.output_1) * 37 % 91 / 91)
    shuffled = measure_agreement(by_length, read_labelled_sets(tmp_path), 7.0, silent)
    there = {path.stem for path in map(Path, names)}
    as_shipped = [labelled for labelled in read_labelled_sets(JUDGE) if labelled.name in there]
    expected = measure_agreement(by_length, as_shipped, 7.0, silent)
    assert shuffled.drop_columns("set_fingerprint") == expected.drop_columns("set_fingerprint")
