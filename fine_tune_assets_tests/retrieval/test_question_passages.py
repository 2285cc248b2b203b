"""The gateway's way in: the live index, passages in the template, and an answer of its own where nothing is relevant."""

from pathlib import Path

import pytest

from fine_tune_assets.core.prompts.retrieval_contract import RetrievalContract
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.embeddings.encoder import encoder_version
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.live_knowledge import make_knowledge_live
from fine_tune_assets.retrieval.documents import Document
from fine_tune_assets.retrieval.lance_store import LanceStore
from fine_tune_assets.retrieval.question_passages import LiveKnowledge, NoLiveKnowledgeError, check_answer
from fine_tune_assets.retrieval.search import index_format
from fine_tune_assets_tests.ledger.fresh import fresh_ledger
from fine_tune_assets_tests.retrieval.made import LEAVE, NOW, SALARIES, document, make_index

FORMAT = index_format(encoder_version())
CONTRACT = RetrievalContract("{passages}\n\nQuestion: {question}", "Nothing is known of that.", 3, 0.55, FORMAT)
ASKED = [{"role": "user", "content": "How many days of paid time off do full-time staff have?"}]


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    return fresh_ledger(settings.database_url)


def go_live(settings: Settings, ledger: Ledger, *documents: Document) -> str:
    folder = settings.layout.knowledge_indexes
    index = make_index(folder, LanceStore(folder), *documents)
    make_knowledge_live(
        ledger, index_fingerprint=index.fingerprint, format_fingerprint=FORMAT, store="lancedb", chunks=1, is_passed=True,
        evidence={}, by="test",
    )  # fmt: skip
    return index.fingerprint


def test_a_question_gets_its_passages_and_their_citations(settings: Settings, ledger: Ledger) -> None:
    fingerprint = go_live(settings, ledger, document("leave.md", LEAVE), document("pay.md", SALARIES, ("hr",)))
    prepared = LiveKnowledge(settings, ledger).prepare(ASKED, (), CONTRACT, NOW)
    assert prepared.answer is None
    assert LEAVE in prepared.messages[-1]["content"]
    assert SALARIES not in prepared.messages[-1]["content"]
    (citation,) = prepared.citations
    assert {name: citation[name] for name in ("number", "source", "title", "version")} == {
        "number": 1, "source": "leave.md", "title": "Leave", "version": "1",
    }  # fmt: skip
    assert prepared.passages.index_fingerprint == fingerprint
    assert check_answer("They have 20 days [1].", prepared).is_supported
    assert check_answer("They have 25 days [1].", prepared).counts == {"numbers": 1}


def test_nothing_relevant_is_answered_without_the_model(settings: Settings, ledger: Ledger) -> None:
    go_live(settings, ledger, document("pay.md", SALARIES, ("hr",)))
    knowledge = LiveKnowledge(settings, ledger)
    asked = [{"role": "user", "content": "In which band of the pay scale is the salary of a ward head?"}]
    assert knowledge.prepare(asked, (), CONTRACT, NOW).answer == "Nothing is known of that."
    assert knowledge.prepare(asked, ("hr",), CONTRACT, NOW).answer is None


def test_another_index_answers_a_second_later(settings: Settings, ledger: Ledger) -> None:
    """Without a restart, and without asking the ledger for each request."""
    clock = Clock()
    knowledge = LiveKnowledge(settings, ledger, clock)
    go_live(settings, ledger, document("leave.md", LEAVE))
    assert "20 days" in knowledge.prepare(ASKED, (), CONTRACT, NOW).messages[-1]["content"]
    go_live(settings, ledger, document("leave.md", LEAVE.replace("20", "25")))
    assert "20 days" in knowledge.prepare(ASKED, (), CONTRACT, NOW).messages[-1]["content"]
    clock.seconds = 1.0
    assert "25 days" in knowledge.prepare(ASKED, (), CONTRACT, NOW).messages[-1]["content"]


def test_an_index_of_another_format_answers_nobody(settings: Settings, ledger: Ledger) -> None:
    go_live(settings, ledger, document("leave.md", LEAVE))
    other = RetrievalContract(CONTRACT.template, "x", 3, 0.5, "0" * 64)
    with pytest.raises(NoLiveKnowledgeError, match="fits the live release"):
        LiveKnowledge(settings, ledger).prepare(ASKED, (), other, NOW)
