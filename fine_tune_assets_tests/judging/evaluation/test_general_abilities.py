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
from fine_tune_assets.judging.evaluation.general_abilities import (
    ability_budgets,
    answer_questions,
    compare_abilities,
    read_questions,
)
from fine_tune_assets.judging.verdicts.metric_families import ability_metrics
from fine_tune_assets.judging.verdicts.promotion_rule import family_objections
from fine_tune_assets.judging.verdicts.verdict_metrics import adjust_metrics
from fine_tune_assets.judging.verdicts.verdict_reasons import worse_than_allowed
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.tables.judging_rows import RetainedAbility
from fine_tune_assets.tables.record_classes import table_from_rows

GATE = replace(load_recipe("demo_smollm2").gate, maximum_ability_loss=0.2, ability_budgets={"sums": 0.05})


@pytest.fixture
def questions_file(tmp_path: Path) -> Path:
    path = tmp_path / "colours.jsonl"
    rows = [{"query": f"question {i}", "choices": ["red", "green"], "gold": i % 2} for i in range(6)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def _prefers_green(pairs: Sequence[tuple[str, str]]) -> list[float]:
    return [-1.0 if choice == " green" else -9.0 for _, choice in pairs]


def test_the_likeliest_choice_is_the_answer(questions_file: Path) -> None:
    questions = read_questions(questions_file, limit=6)
    assert answer_questions(questions, _prefers_green) == [q.gold == 1 for q in questions]


def test_the_same_questions_are_chosen_every_time(questions_file: Path) -> None:
    """Base model and candidate get the same questions in every run."""
    assert read_questions(questions_file, limit=3) == read_questions(questions_file, limit=6)[:3]


def _compared(base: list[bool], adapter: list[bool], ability: str = "colours") -> dict[str, Any]:
    table = compare_abilities("adapter", {ability: (base, adapter)}, ability_budgets(["colours", "sums"], GATE))
    return dict(table.to_pylist()[0])


def _objections(*rows: dict[str, Any]) -> list[str]:
    """The reasons of this family."""
    metrics = adjust_metrics(ability_metrics(table_from_rows(rows, RetainedAbility.SCHEMA), GATE))
    return [*family_objections("abilities", metrics, [row["ability"] for row in rows], GATE)]


def test_a_lost_ability_shows_as_a_difference() -> None:
    row = _compared([True] * 10, [True] * 5 + [False] * 5)
    assert row["base_accuracy"] - row["adapter_accuracy"] == pytest.approx(0.5, abs=1e-9)
    assert row["high"] < 0
    assert (row["base_only_correct"], row["adapter_only_correct"], row["max_accuracy_drop"]) == (5, 0, 0.2)


def test_an_invalid_question_file_closes_the_gate(tmp_path: Path) -> None:
    """Skipping it would silently leave the ability unmeasured."""
    (tmp_path / "broken.jsonl").write_text('{"query": "no choices"}')
    with pytest.raises(GateClosedError, match=r"broken\.jsonl"):
        read_questions(tmp_path / "broken.jsonl", limit=5)


def test_a_question_may_contain_unicode_line_separators(tmp_path: Path) -> None:
    """U+2028 is valid in JSON strings, but a line end for str.splitlines."""
    row = {"query": "one\u2028two\x85three", "choices": ["a"], "gold": 0}
    (tmp_path / "quiz.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [question.query for question in read_questions(tmp_path / "quiz.jsonl", limit=5)] == [row["query"]]


def test_the_order_of_the_questions_changes_nothing(questions_file: Path, tmp_path: Path) -> None:
    """Also with a duplicate question that has other choices."""
    lines = [*questions_file.read_text().split("\n"), json.dumps({"query": "question 1", "choices": ["x"], "gold": 0})]
    shuffled = tmp_path / "shuffled.jsonl"
    first = tmp_path / "first.jsonl"
    first.write_text("\n".join(lines))
    for seed in range(5):
        shuffled.write_text("\n".join(random.Random(seed).sample(lines, len(lines))))
        for limit in (2, 4, 7):
            assert read_questions(shuffled, limit) == read_questions(first, limit)


def test_a_longer_choice_is_not_worse_for_being_longer(questions_file: Path) -> None:
    """By the sum of log-probabilities alone, the shortest choice would win."""
    questions = [replace(q, choices=("red", "a rather dark green"), gold=1) for q in read_questions(questions_file, 6)]
    assert all(answer_questions(questions, lambda pairs: [-(float(len(choice)) ** 0.9) for _, choice in pairs]))


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_closes_the_gate(questions_file: Path, score: float) -> None:
    """A diverged model would otherwise count as choosing the first answer."""
    with pytest.raises(GateClosedError):
        answer_questions(read_questions(questions_file, 6), lambda pairs: [score for _ in pairs])


def test_an_ability_without_questions_closes_the_gate() -> None:
    """The accuracy of zero questions is undefined."""
    with pytest.raises(GateClosedError, match="colours"):
        _compared([], [])


def test_a_budget_for_an_unknown_ability_closes_the_gate() -> None:
    """A misspelled name would silently leave the ability with the general limit."""
    with pytest.raises(GateClosedError, match="sums"):
        ability_budgets(["colours"], GATE)
    assert ability_budgets(["colours", "sums"], GATE) == {"colours": 0.2, "sums": 0.05}


def test_a_loss_equal_to_the_limit_passes_and_one_more_question_closes_the_gate() -> None:
    """0.52 - 0.32 is not 0.2 in floating point, but 5 of 25 is."""
    base = [True] * 13 + [False] * 12
    assert _objections(_compared(base, [True] * 8 + [False] * 17)) == []
    (reason,) = _objections(_compared(base, [True] * 7 + [False] * 18))
    for part in ("colours", "0.52", "0.28", "0.20"):
        assert part in reason


def test_a_loss_that_is_significant_only_before_the_adjustment_says_so() -> None:
    """The interval lies beyond the limit, so that the reason must name Holm's correction."""
    row = _compared([True] * 25, [True] * 8 + [False] * 17)
    (metric,) = adjust_metrics(ability_metrics(table_from_rows([row], RetainedAbility.SCHEMA), GATE))
    assert metric.high is not None
    assert metric.high < -0.2
    adjusted = worse_than_allowed(replace(metric, adjusted_p=0.08, outcome="unknown"))
    assert "Holm, adjusted p 0.0800" in adjusted
    assert "0.0800" not in worse_than_allowed(replace(metric, high=0.0, adjusted_p=0.08, outcome="unknown"))


def test_an_ability_has_its_own_budget() -> None:
    """An important ability may have a stricter limit."""
    lost_a_tenth = [True] * 10, [True] * 9 + [False]
    assert _objections(_compared(*lost_a_tenth)) == []
    assert len(_objections(_compared(*lost_a_tenth, ability="sums"), _compared(*lost_a_tenth))) == 1


def test_missing_abilities_close_the_gate() -> None:
    """Without a row, or with a row without numbers."""
    row = _compared([True], [True])
    (reason,) = _objections()
    assert "`fine-tune materialize retained_abilities`" in reason
    (reason,) = _objections({**row, "adapter_accuracy": math.nan})
    assert "colours (abilities)" in reason
    assert "`fine-tune materialize retained_abilities`" in reason
    assert _objections({**row, "question_count": 0}) != []


def test_table_and_verdict_have_the_same_interval() -> None:
    """Two different 95 % intervals would be confusing."""
    row = _compared([True] * 10, [True] * 9 + [False])
    (metric,) = ability_metrics(table_from_rows([row], RetainedAbility.SCHEMA), GATE)
    assert (row["low"], row["high"]) == (metric.low, metric.high)
    same = _compared([True] * 10, [True] * 10)
    assert same["low"] < 0 < same["high"]  # no loss in ten questions proves nothing
