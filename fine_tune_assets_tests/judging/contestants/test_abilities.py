"""Retained abilities: choices by log-likelihood, and a paired comparison."""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.judging.contestants.abilities import (
    ability_budgets,
    answer_questions,
    compare_abilities,
    read_questions,
)
from fine_tune_assets.judging.verdicts.families import abilities
from fine_tune_assets.judging.verdicts.figures import settle
from fine_tune_assets.judging.verdicts.promotion_rule import against_family
from fine_tune_assets.judging.verdicts.reasons import worse_than_allowed
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.tables.judging import RetainedAbility
from fine_tune_assets.tables.records import table_of

GATE = replace(load_recipe("demo_smollm2").gate, maximum_ability_loss=0.2, ability_budgets={"sums": 0.05})


@pytest.fixture
def questions_file(tmp_path: Path) -> Path:
    path = tmp_path / "colours.jsonl"
    rows = [{"query": f"question {i}", "choices": ["red", "green"], "gold": i % 2} for i in range(6)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def _prefers_green(pairs: Sequence[tuple[str, str]]) -> list[float]:
    return [-1.0 if choice == " green" else -9.0 for _, choice in pairs]


def test_the_most_likely_choice_is_the_answer(questions_file: Path) -> None:
    questions = read_questions(questions_file, limit=6)
    assert answer_questions(questions, _prefers_green) == [q.gold == 1 for q in questions]


def test_the_same_questions_are_chosen_every_time(questions_file: Path) -> None:
    """Base and candidate, and this run and the next, must be asked the same."""
    assert read_questions(questions_file, limit=3) == read_questions(questions_file, limit=6)[:3]


def _compared(base: list[bool], adapter: list[bool], ability: str = "colours") -> dict[str, Any]:
    table = compare_abilities("adapter", {ability: (base, adapter)}, ability_budgets(["colours", "sums"], GATE))
    return dict(table.to_pylist()[0])


def _fallen(*rows: dict[str, Any]) -> list[str]:
    """Reasons of the verdict, of this family alone."""
    figures = settle(abilities(table_of(rows, RetainedAbility.SCHEMA), GATE))
    return [*against_family("abilities", figures, [row["ability"] for row in rows], GATE)]


def test_what_was_forgotten_shows_as_a_difference() -> None:
    row = _compared([True] * 10, [True] * 5 + [False] * 5)
    assert row["base_accuracy"] - row["adapter_accuracy"] == pytest.approx(0.5, abs=1e-9)
    assert row["high"] < 0
    assert (row["base_right_only"], row["adapter_right_only"], row["budget"]) == (5, 0, 0.2)


def test_a_broken_question_file_closes_the_gate(tmp_path: Path) -> None:
    """Skipping it would leave the ability unmeasured without anyone knowing."""
    (tmp_path / "broken.jsonl").write_text('{"query": "no choices"}')
    with pytest.raises(GateClosedError, match=r"broken\.jsonl"):
        read_questions(tmp_path / "broken.jsonl", limit=5)


def test_a_question_may_hold_any_line_end_that_json_lets_stand(tmp_path: Path) -> None:
    """U+2028 is a character of a JSON text, and a line end to Python's splitlines."""
    row = {"query": "one\u2028two\x85three", "choices": ["a"], "gold": 0}
    (tmp_path / "quiz.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [question.query for question in read_questions(tmp_path / "quiz.jsonl", limit=5)] == [row["query"]]


def test_the_order_of_the_questions_changes_nothing(questions_file: Path, tmp_path: Path) -> None:
    """Nor does one that stands there twice with other choices: a sample that depends on order is not the same sample."""
    lines = [*questions_file.read_text().split("\n"), json.dumps({"query": "question 1", "choices": ["x"], "gold": 0})]
    shuffled = tmp_path / "shuffled.jsonl"
    first = tmp_path / "first.jsonl"
    first.write_text("\n".join(lines))
    for seed in range(5):
        shuffled.write_text("\n".join(random.Random(seed).sample(lines, len(lines))))
        for limit in (2, 4, 7):
            assert read_questions(shuffled, limit) == read_questions(first, limit)


def test_a_longer_choice_is_not_worse_for_being_longer(questions_file: Path) -> None:
    """Each further word costs probability: by the sum alone, the shortest choice would win."""
    questions = [replace(q, choices=("red", "a rather dark green"), gold=1) for q in read_questions(questions_file, 6)]
    assert all(answer_questions(questions, lambda pairs: [-(float(len(choice)) ** 0.9) for _, choice in pairs]))


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_closes_the_gate(questions_file: Path, score: float) -> None:
    """A model that was trained to pieces would else be counted as having chosen the first answer."""
    with pytest.raises(GateClosedError, match="no numbers"):
        answer_questions(read_questions(questions_file, 6), lambda pairs: [score for _ in pairs])


def test_an_ability_without_questions_closes_the_gate() -> None:
    """Of nothing, no share is right."""
    with pytest.raises(GateClosedError, match="no questions for colours"):
        _compared([], [])


def test_a_budget_for_what_is_not_measured_closes_the_gate() -> None:
    """A misspelt name would leave the task with the general limit, and nobody would know."""
    with pytest.raises(GateClosedError, match="names sums"):
        ability_budgets(["colours"], GATE)
    assert ability_budgets(["colours", "sums"], GATE) == {"colours": 0.2, "sums": 0.05}


def test_a_loss_up_to_the_budget_passes_and_one_question_more_closes_the_gate() -> None:
    """Exactly the budget: .52 - .32 is not .2 in floating point, 5 of 25 is."""
    base = [True] * 13 + [False] * 12
    assert _fallen(_compared(base, [True] * 8 + [False] * 17)) == []
    (reason,) = _fallen(_compared(base, [True] * 7 + [False] * 18))
    assert "Forgets colours, as measured: 0.52 before, 0.28 after" in reason
    assert "0.20 may be lost" in reason


def test_a_loss_that_only_the_adjustment_explains_is_not_called_a_lack_of_items() -> None:
    """The interval lies wholly beyond the limit: a reader who is asked for more items would see a contradiction."""
    row = _compared([True] * 25, [True] * 8 + [False] * 17)
    (figure,) = settle(abilities(table_of([row], RetainedAbility.SCHEMA), GATE))
    assert figure.high is not None
    assert figure.high < -0.2
    adjusted = worse_than_allowed(replace(figure, adjusted_p=0.08, outcome="unknown"))
    assert "adjusted p 0.0800" in adjusted
    assert "enough to tell" not in adjusted


def test_an_ability_has_its_own_budget() -> None:
    """What a product lives from may lose less than the rest."""
    lost_a_tenth = [True] * 10, [True] * 9 + [False]
    assert _fallen(_compared(*lost_a_tenth)) == []
    assert len(_fallen(_compared(*lost_a_tenth, ability="sums"), _compared(*lost_a_tenth))) == 1


def test_abilities_that_were_not_measured_close_the_gate() -> None:
    """No row, or a row without figures, is no sign of health."""
    row = _compared([True], [True])
    assert _fallen() == ["Retained abilities were not measured."]
    (reason,) = _fallen({**row, "adapter_accuracy": math.nan})
    assert reason == "colours is missing (abilities). Its accuracy is not a number."
    assert _fallen({**row, "items": 0}) != []


def test_a_table_of_before_is_judged_by_its_accuracies() -> None:
    """It has no counts of questions that only one of both answers."""
    row = {**_compared([True] * 10, [False] * 10), "base_right_only": None, "adapter_right_only": None, "budget": None}
    assert len(_fallen(row)) == 1
    assert _fallen({**row, "adapter_accuracy": 1.0}) == []


def test_the_interval_of_the_table_is_the_one_of_the_verdict() -> None:
    """Two kinds of 95 % intervals side by side would differ and nobody would know why."""
    row = _compared([True] * 10, [True] * 9 + [False])
    (figure,) = abilities(table_of([row], RetainedAbility.SCHEMA), GATE)
    assert (row["low"], row["high"]) == (figure.low, figure.high)
    same = _compared([True] * 10, [True] * 10)
    assert same["low"] < 0 < same["high"]  # no loss in ten questions is no proof
