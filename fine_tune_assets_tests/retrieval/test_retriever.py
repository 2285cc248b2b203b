"""The gateway's entry point: the live index, passages in the template, and a fixed answer if nothing is relevant."""

import pytest

from fine_tune_assets.core.prompts.retrieval_contract import RetrievalContract
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.retrieval.retriever import NoLiveIndexError, Retriever, check_answer
from fine_tune_assets_tests.retrieval.live_index import FORMAT, go_live, ledger, settings
from fine_tune_assets_tests.retrieval.small_index import LEAVE, NOW, SALARIES, document

__all__ = ["ledger", "settings"]

CONTRACT = RetrievalContract("{passages}\n\nQuestion: {question}", "Nothing is known of that.", 3, 0.55, FORMAT)
ASKED = [{"role": "user", "content": "How many days of paid time off do full-time staff have?"}]


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_question_gets_its_passages_and_their_citations(settings: Settings, ledger: Ledger) -> None:
    fingerprint = go_live(settings, ledger, document("leave.md", LEAVE), document("pay.md", SALARIES, ("hr",)))
    prepared = Retriever(settings, ledger).prepare(ASKED, (), CONTRACT, NOW)
    assert prepared.fallback_answer is None
    assert LEAVE in prepared.messages[-1]["content"]
    assert SALARIES not in prepared.messages[-1]["content"]
    (citation,) = prepared.citations
    assert {name: citation[name] for name in ("number", "source", "title", "version")} == {
        "number": 1, "source": "leave.md", "title": "Leave", "version": "1",
    }  # fmt: skip
    assert prepared.search_result.index_fingerprint == fingerprint
    assert check_answer("They have 20 days [1].", prepared).is_supported
    assert check_answer("They have 25 days [1].", prepared).counts == {"numbers": 1}


def test_without_relevant_passages_the_model_is_not_asked(settings: Settings, ledger: Ledger) -> None:
    go_live(settings, ledger, document("pay.md", SALARIES, ("hr",)))
    knowledge = Retriever(settings, ledger)
    messages = [{"role": "user", "content": "In which band of the pay scale is the salary of a ward head?"}]
    assert knowledge.prepare(messages, (), CONTRACT, NOW).fallback_answer == "Nothing is known of that."
    assert knowledge.prepare(messages, ("hr",), CONTRACT, NOW).fallback_answer is None


def test_a_new_live_index_answers_after_one_second(settings: Settings, ledger: Ledger) -> None:
    """Without a restart, and without a ledger query per request."""
    clock = Clock()
    knowledge = Retriever(settings, ledger, clock)
    go_live(settings, ledger, document("leave.md", LEAVE))
    assert "20 days" in knowledge.prepare(ASKED, (), CONTRACT, NOW).messages[-1]["content"]
    go_live(settings, ledger, document("leave.md", LEAVE.replace("20", "25")))
    assert "20 days" in knowledge.prepare(ASKED, (), CONTRACT, NOW).messages[-1]["content"]
    clock.seconds = 1.0
    assert "25 days" in knowledge.prepare(ASKED, (), CONTRACT, NOW).messages[-1]["content"]


def test_an_index_of_another_format_is_not_used(settings: Settings, ledger: Ledger) -> None:
    go_live(settings, ledger, document("leave.md", LEAVE))
    other = RetrievalContract(CONTRACT.template, "x", 3, 0.5, "0" * 64)
    with pytest.raises(NoLiveIndexError, match="fine-tune materialize knowledge_indexes"):
        Retriever(settings, ledger).prepare(ASKED, (), other, NOW)
