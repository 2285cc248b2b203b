"""Every question that a model is measured with is known, or the gate is closed."""

import json
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.instructions.leaks import read_evaluation_texts


def test_the_shipped_sets_are_read_whole() -> None:
    """All questions of retained abilities, and nothing that measures the judge."""
    texts = read_evaluation_texts(PROJECT_DIR / "data" / "evaluation")
    starts = {text.text_id.split()[0] for text in texts}
    assert starts == {"arc_easy", "boolq", "commonsense_qa", "copa", "openbook_qa", "pubmed_qa", "strategy_qa"}
    assert sum(text.text_id.startswith("copa") for text in texts) == 100
    assert all(text.input and text.output for text in texts)


def test_a_folder_without_questions_closes_the_gate(tmp_path: Path) -> None:
    """Nobody could say what was kept out of training."""
    with pytest.raises(GateClosedError, match="no evaluation set"):
        read_evaluation_texts(tmp_path)


@pytest.mark.parametrize("line", ["{marker-word", '{"query": "marker-word"}', '{"query": 1, "choices": [], "gold": 3}'])
def test_a_question_that_cannot_be_read_closes_the_gate_without_its_text(tmp_path: Path, line: str) -> None:
    """A set that is half read is half kept out."""
    (tmp_path / "abilities").mkdir()
    (tmp_path / "abilities" / "quiz.jsonl").write_text(
        json.dumps({"query": "q", "choices": ["a"], "gold": 0}) + "\n" + line + "\n"
    )
    with pytest.raises(GateClosedError, match=r"quiz\.jsonl can't be read") as caught:
        read_evaluation_texts(tmp_path)
    assert "marker-word" not in str(caught.value)


def test_a_question_may_hold_any_line_end_that_json_lets_stand(tmp_path: Path) -> None:
    """U+2028 is a character of a JSON text, and a line end to Python's splitlines."""
    (tmp_path / "abilities").mkdir()
    row = {"query": "one\u2028two\x85three", "choices": ["a"], "gold": 0}
    (tmp_path / "abilities" / "quiz.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [text.input for text in read_evaluation_texts(tmp_path)] == [row["query"]]
