"""Each labelled question is asked with the passages that the gateway finds, and without those that answer it."""

from pathlib import Path

import pytest

from fine_tune_assets.core.prompts.retrieval_contract import EVERYONE
from fine_tune_assets.retrieval.document_questions import find_document_questions
from fine_tune_assets.retrieval.lance_store import LanceStore
from fine_tune_assets.retrieval.retrieval_quality import LabelledQuestion
from fine_tune_assets.retrieval.search import Index, retrieve
from fine_tune_assets_tests.retrieval.small_index import LEAVE, NOW, SALARIES, VISITS, document, make_index

QUESTION = "How many days of paid time off a year do full-time staff have?"
SICKNESS = "Staff on sick leave call the ward in the morning of the first day."


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder: Path = tmp_path_factory.mktemp("index")
    documents = [document("leave.md", LEAVE), document("visits.md", VISITS), document("sick.md", SICKNESS)]
    return make_index(folder, LanceStore(folder), *documents, document("pay.md", SALARIES, ("hr",)))


def _labelled(source: str, question: str = QUESTION, *labels: str) -> LabelledQuestion:
    return LabelledQuestion(question, lambda passage: passage.source == source, frozenset({EVERYONE, *labels}))


def test_a_question_is_asked_with_its_passage_and_without_it(index: Index) -> None:
    asked, without = find_document_questions(index, [_labelled("leave.md")], 2, 0.55, NOW)
    found = retrieve(index, QUESTION, labels={EVERYONE}, now=NOW, limit=2, minimum_score=0.55).passages
    assert [one.passage_id for one in asked.passages] == [one.passage_id for one in found]
    assert [asked.passages[number - 1].text for number in asked.answering] == [LEAVE]
    assert {one.source for one in without.passages} == {"visits.md", "sick.md"}
    assert without.answering == ()
    assert (asked.question_id, asked.document) == (without.question_id, "leave.md")


def test_a_question_whose_passage_is_not_found_is_asked_without_it_only(index: Index) -> None:
    """The search has a gate of its own, and the model can't cite what it does not receive."""
    (without,) = find_document_questions(index, [_labelled("leave.md")], 2, 0.99, NOW)
    assert without.answering == ()
    assert without.document == "leave.md"


def test_a_question_receives_only_what_its_caller_may_see(index: Index) -> None:
    question = "In which band is a ward head paid?"
    public = list(find_document_questions(index, [_labelled("pay.md", question)], 3, 0.0, NOW))
    assert "pay.md" not in {passage.source for one in public for passage in one.passages}
    asked, _ = find_document_questions(index, [_labelled("pay.md", question, "hr")], 3, 0.55, NOW)
    assert [asked.passages[number - 1].source for number in asked.answering] == ["pay.md"]
    assert set(asked.passages[0].labels) == {EVERYONE, "hr"}
