"""Each metric of an index can close the gate."""

import json
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.prompts.retrieval_contract import EVERYONE
from fine_tune_assets.embeddings.encoder import bundled_encoder, encode_passages, piece_counter
from fine_tune_assets.retrieval.document_index import (
    IndexEnvironment,
    IndexRequirements,
    build_chunk_table,
    describe_faults,
    make_index,
)
from fine_tune_assets.retrieval.lance_store import LanceStore
from fine_tune_assets.retrieval.retrieval_quality import QuestionsError, read_bundled_questions, read_own_questions
from fine_tune_assets.tables.serving_rows import KnowledgeChunk
from fine_tune_assets_tests.retrieval.small_index import LEAVE, NOW, SALARIES, VISITS, document

ASKED = IndexRequirements(
    passages=3, minimum_score=0.55, chunk_tokens=160, recall_floor=0.9, mrr_floor=0.85, refusal_rate_floor=0.9
)
FLOORS = {"recall_floor": 0.9, "mrr_floor": 0.85, "refusal_rate_floor": 0.9}
PASSED = {
    "recall": 0.95, "mrr": 0.9, "refusal_rate": 0.95, "custom_question_count": 5, "custom_recall": 1.0, "known_item_count": 9,
    "known_item_recall": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("name", ["recall", "mrr", "refusal_rate", "custom_recall", "known_item_recall"])
@pytest.mark.parametrize("value", [0.5, None])
def test_every_metric_closes_the_gate(name: str, value: float | None) -> None:
    """Below its floor, and when missing: a missing metric is never a pass."""
    assert describe_faults(PASSED, FLOORS) == ""
    reason = describe_faults({**PASSED, name: value}, FLOORS)
    assert reason.startswith(name)
    assert ("not measured" in reason) is (value is None)


def test_metrics_without_a_floor_may_be_missing() -> None:
    none = {"custom_question_count": 0, "custom_recall": None, "known_item_count": 0, "known_item_recall": None}
    assert describe_faults({**PASSED, **none}, FLOORS) == ""


def shipped_file(folder: Path, wrong: bool = False) -> Path:
    """Three questions; the third one's abstract is not indexed. `wrong` assigns questions to other abstracts."""
    abstracts = [
        (
            "Soap removed spores that alcohol left on the hands of nurses.",
            "Does soap remove spores from hands of nurses?",
        ),
        ("Children who slept longer had fewer accidents.", "Do children who sleep longer have fewer accidents?"),
        ("Vaccination of ferrets lowered the fever of influenza.", "Does vaccination of ferrets lower fever?"),
    ]
    questions = [question for _, question in abstracts]
    if wrong:
        questions = [questions[1], questions[0], questions[2]]
    rows = [
        {"query": f"Abstract: {abstract}\nQuestion: {question}\nAnswer:", "choices": ["yes"], "gold": 0}
        for (abstract, _), question in zip(abstracts, questions, strict=True)
    ]
    path = folder / "pubmed_qa.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def made(folder: Path, wrong: bool = False, custom: str = "", chunks: Any = None) -> dict[str, Any]:
    at = IndexEnvironment(
        folder, LanceStore(folder), "f" * 64, encode_passages, bundled_encoder().encode, piece_counter()
    )
    documents = [document("leave.md", LEAVE), document("visits.md", VISITS), document("pay.md", SALARIES, ("hr",))]
    questions = folder / "custom.jsonl"
    folder.mkdir(exist_ok=True)
    questions.write_text(custom, encoding="utf-8")
    table = build_chunk_table(documents, 160, piece_counter()) if chunks is None else chunks
    return make_index(
        table, at, ASKED, read_bundled_questions(shipped_file(folder, wrong)), read_own_questions(questions), NOW
    )


def test_an_index_that_finds_its_content_passes(tmp_path: Path) -> None:
    custom = json.dumps(
        {"question": "In which band is a ward head paid?", "source": "pay.md", "labels": ["hr"], "contains": "band 12"}
    )
    row = made(tmp_path / "i", custom=custom)
    assert (row["is_passed"], row["failure_reason"]) == (True, "")
    assert (row["recall"], row["refusal_rate"], row["custom_recall"], row["known_item_recall"]) == (1.0, 1.0, 1.0, 1.0)
    assert (row["documents"], row["chunks"]) == (3, 3)
    assert LanceStore(tmp_path / "i").list_indexes() == [row["index_fingerprint"][:16]]


def test_questions_that_find_another_passage_close_the_gate(tmp_path: Path) -> None:
    row = made(tmp_path / "i", wrong=True)
    assert row["is_passed"] is False
    assert "recall is" in row["failure_reason"]


def test_custom_questions_close_the_gate(tmp_path: Path) -> None:
    """Without the document's label, the question can't find it: either the question or the label is wrong."""
    custom = json.dumps({"question": "In which band is a ward head paid?", "source": "pay.md"})
    row = made(tmp_path / "i", custom=custom)
    assert (row["is_passed"], row["custom_recall"]) == (False, 0.0)


def test_an_index_without_documents_is_not_measured(tmp_path: Path) -> None:
    """Removing the last document must be possible: no question is answered then."""
    row = made(tmp_path / "i", chunks=KnowledgeChunk.SCHEMA.empty_table())
    assert (row["is_passed"], row["recall"], row["chunks"]) == (True, None, 0)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        '{"question": "x"}',
        '{"question": "x", "source": "y", "answer": "z"}',
        "[]",
        '{"question": 1, "source": "y"}',
    ],
)
def test_an_invalid_question_is_named_by_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "own_questions.jsonl"
    path.write_text(f'{{"question": "a", "source": "b"}}\n{line}\n', encoding="utf-8")
    with pytest.raises(QuestionsError, match="Line 2"):
        read_own_questions(path)
    path.write_text('{"question": "a", "source": "b"}\n', encoding="utf-8")
    (question,) = read_own_questions(path)
    assert question.labels == {EVERYONE}
