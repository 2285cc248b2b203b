"""Evaluation questions are read completely, or the gate closes."""

import json
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.instructions.leakage import read_evaluation_texts


def test_the_shipped_sets_are_read_completely() -> None:
    """All questions of retained abilities, and none of the labelled sets."""
    texts = read_evaluation_texts(PROJECT_DIR / "data" / "evaluation")
    starts = {text.text_id.split()[0] for text in texts}
    assert starts == {"arc_easy", "boolq", "commonsense_qa", "copa", "openbook_qa", "pubmed_qa", "strategy_qa"}
    assert sum(text.text_id.startswith("copa") for text in texts) == 100
    assert all(text.input and text.output for text in texts)


def test_a_folder_without_questions_closes_the_gate(tmp_path: Path) -> None:
    """Leaks of evaluation questions could not be excluded."""
    with pytest.raises(GateClosedError, match="abilities"):
        read_evaluation_texts(tmp_path)


@pytest.mark.parametrize("line", ["{marker-word", '{"query": "marker-word"}', '{"query": 1, "choices": [], "gold": 3}'])
def test_an_invalid_question_closes_the_gate_without_its_text(tmp_path: Path, line: str) -> None:
    """A partly read set would be partly excluded."""
    (tmp_path / "abilities").mkdir()
    (tmp_path / "abilities" / "quiz.jsonl").write_text(
        json.dumps({"query": "q", "choices": ["a"], "gold": 0}) + "\n" + line + "\n"
    )
    with pytest.raises(GateClosedError, match=r"quiz\.jsonl") as caught:
        read_evaluation_texts(tmp_path)
    assert "marker-word" not in str(caught.value)


def test_a_question_may_contain_unicode_line_separators(tmp_path: Path) -> None:
    """U+2028 is valid in JSON strings, but a line end for str.splitlines."""
    (tmp_path / "abilities").mkdir()
    row = {"query": "one\u2028two\x85three", "choices": ["a"], "gold": 0}
    (tmp_path / "abilities" / "quiz.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [text.input for text in read_evaluation_texts(tmp_path)] == [row["query"]]
