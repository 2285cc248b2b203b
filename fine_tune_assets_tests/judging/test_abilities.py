"""Retained abilities: choices by log-likelihood, and a paired comparison."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.judging.abilities import answer_questions, compare_abilities, read_questions


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


def test_what_was_forgotten_shows_as_a_difference() -> None:
    row = compare_abilities("adapter", {"colours": ([True] * 10, [True] * 5 + [False] * 5)}).to_pylist()[0]
    assert row["base_accuracy"] - row["adapter_accuracy"] == pytest.approx(0.5, abs=1e-9)
    assert row["high"] < 0


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
