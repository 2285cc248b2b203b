"""The figures that let an index become live, and each of them closing the gate."""

import json
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.prompts.retrieval_contract import EVERYONE
from fine_tune_assets.embeddings.encoder import bundled_encoder, encode_passages, piece_counter
from fine_tune_assets.retrieval.document_index import Asked, Workplace, chunk_table, faults_of, make_index
from fine_tune_assets.retrieval.lance_store import LanceStore
from fine_tune_assets.retrieval.retrieval_quality import QuestionsError, read_own_questions, read_shipped_set
from fine_tune_assets.tables.serving import KnowledgeChunk
from fine_tune_assets_tests.retrieval.made import LEAVE, NOW, SALARIES, VISITS, document

ASKED = Asked(passages=3, minimum_score=0.55, chunk_tokens=160, recall_floor=0.9, mrr_floor=0.85, refused_floor=0.9)
FLOORS = {"recall_floor": 0.9, "mrr_floor": 0.85, "refused_floor": 0.9}
PASSED = {
    "recall": 0.95, "mrr": 0.9, "refused": 0.95, "own_questions": 5, "own_recall": 1.0, "known_items": 9, "known_recall": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("name", ["recall", "mrr", "refused", "own_recall", "known_recall"])
@pytest.mark.parametrize("value", [0.5, None])
def test_every_figure_closes_the_gate(name: str, value: float | None) -> None:
    """Below its floor, and when it is missing: a missing figure is never a good one."""
    assert faults_of(PASSED, FLOORS) == ""
    said = faults_of({**PASSED, name: value}, FLOORS)
    assert said.startswith(name)
    assert ("not measured" in said) is (value is None)


def test_figures_that_nobody_asked_for_are_not_missed() -> None:
    none = {"own_questions": 0, "own_recall": None, "known_items": 0, "known_recall": None}
    assert faults_of({**PASSED, **none}, FLOORS) == ""


def shipped_file(folder: Path, wrong: bool = False) -> Path:
    """Three questions; the third one's abstract is left out. `wrong`: each question stands under another abstract."""
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


def made(folder: Path, wrong: bool = False, own: str = "", chunks: Any = None) -> dict[str, Any]:
    at = Workplace(folder, LanceStore(folder), "f" * 64, encode_passages, bundled_encoder().encode, piece_counter())
    documents = [document("leave.md", LEAVE), document("visits.md", VISITS), document("pay.md", SALARIES, ("hr",))]
    questions = folder / "own.jsonl"
    folder.mkdir(exist_ok=True)
    questions.write_text(own, encoding="utf-8")
    table = chunk_table(documents, 160, piece_counter()) if chunks is None else chunks
    return make_index(
        table, at, ASKED, read_shipped_set(shipped_file(folder, wrong)), read_own_questions(questions), NOW
    )


def test_an_index_that_finds_what_it_holds_passes(tmp_path: Path) -> None:
    own = json.dumps(
        {"question": "In which band is a ward head paid?", "source": "pay.md", "labels": ["hr"], "contains": "band 12"}
    )
    row = made(tmp_path / "i", own=own)
    assert (row["is_passed"], row["why"]) == (True, "")
    assert (row["recall"], row["refused"], row["own_recall"], row["known_recall"]) == (1.0, 1.0, 1.0, 1.0)
    assert (row["documents"], row["chunks"]) == (3, 3)
    assert LanceStore(tmp_path / "i").built() == [row["index_fingerprint"][:16]]


def test_questions_that_find_another_passage_close_the_gate(tmp_path: Path) -> None:
    row = made(tmp_path / "i", wrong=True)
    assert row["is_passed"] is False
    assert "recall is" in row["why"]


def test_own_questions_close_the_gate(tmp_path: Path) -> None:
    """The caller has no label for that document: the question is wrong about who may see what, or the label is."""
    own = json.dumps({"question": "In which band is a ward head paid?", "source": "pay.md"})
    row = made(tmp_path / "i", own=own)
    assert (row["is_passed"], row["own_recall"]) == (False, 0.0)


def test_an_index_without_documents_is_not_measured(tmp_path: Path) -> None:
    """Who takes the last document away wants nothing of it to be answered."""
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
def test_a_question_that_can_not_be_read_is_named_by_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "own_questions.jsonl"
    path.write_text(f'{{"question": "a", "source": "b"}}\n{line}\n', encoding="utf-8")
    with pytest.raises(QuestionsError, match="Line 2"):
        read_own_questions(path)
    path.write_text('{"question": "a", "source": "b"}\n', encoding="utf-8")
    (question,) = read_own_questions(path)
    assert question.labels == {EVERYONE}
