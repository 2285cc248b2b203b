"""Answers from documents pass if they are grounded, cite the right passage, and refuse where no passage answers."""

from dataclasses import replace

import pytest

from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.core.prompts.conversations import build_conversation
from fine_tune_assets.engines.transformers_models import Answer
from fine_tune_assets.judging.evaluation.document_answers import (
    DocumentPrompt,
    build_example,
    is_refusal,
    measure_answers,
)
from fine_tune_assets.judging.evaluation.model_comparison import Contestant, ContestantAnswer
from fine_tune_assets.recipes.schema import RetrievalSettings
from fine_tune_assets.tables.common_columns import Passage
from fine_tune_assets.tables.judging_rows import DocumentAnswer, DocumentQuestion
from fine_tune_assets_tests.judging.judges.word_reader import WordReader

SETTINGS = RetrievalSettings()
PROMPT = DocumentPrompt("Be brief.", SETTINGS.template, SETTINGS.nothing_found)


def passage(source: str, text: str) -> Passage:
    return Passage(
        passage_id=source,
        title=source.removesuffix(".md").capitalize(),
        source=source,
        version="1",
        headings=(),
        text=text,
        labels=("everyone",),
    )


LEAVE = passage("leave.md", "Full-time staff have 20 days of paid time off a year.")
VISITS = passage("visits.md", "Visitors are welcome on the general wards from 14:00 to 20:00.")
ANSWERABLE = DocumentQuestion(
    question_id="q1",
    document="leave.md",
    question="How many days of paid time off do full-time staff have?",
    passages=(VISITS, LEAVE),
    answering=(2,),
)
UNANSWERABLE = replace(ANSWERABLE, passages=(VISITS,), answering=())


def _measured(text: str, question: DocumentQuestion = ANSWERABLE, failure: str = "") -> DocumentAnswer:
    contestant = Contestant("adapter", "adapter-1", lambda _: [])
    answered = ContestantAnswer(contestant, build_example(question, PROMPT), Answer(text, True))
    (row,) = measure_answers(
        [(question, answered)], WordReader(failure), SETTINGS.nothing_found, "adapter-1", ignore_progress
    )
    return row


@pytest.mark.parametrize(
    ("answer", "is_grounded", "is_cited"),
    [
        ("Full-time staff have 20 days of paid time off a year [2].", True, True),
        ("Full-time staff have 20 days of paid time off a year [1, 2].", True, True),
        ("Full-time staff have 20 days of paid time off a year.", True, False),
        ("Full-time staff have 20 days of paid time off a year [1].", True, False),
        ("Full-time staff have 20 days of paid time off a year [2] [3].", True, False),
        ("Full-time staff have 25 days of paid time off a year [2].", False, True),
        ("Full-time staff have 20 days a year [2]. Unused holiday expires every single December.", False, True),
        ("The documents do not say so [2].", True, False),
        ("", False, False),
    ],
    ids=[
        "right",
        "one more cited",
        "not cited",
        "wrong passage",
        "no such passage",
        "number",
        "invented",
        "refused",
        "empty",
    ],
)
def test_an_answerable_question_needs_a_grounded_answer_with_the_right_citation(
    answer: str, is_grounded: bool, is_cited: bool
) -> None:
    row = _measured(answer)
    assert (row.is_answerable, row.is_grounded, row.is_cited) == (True, is_grounded, is_cited)


@pytest.mark.parametrize(
    ("answer", "is_refusal_found", "is_grounded"),
    [
        (SETTINGS.nothing_found, True, True),
        ("The documents do not say how many days full-time staff have.", True, True),
        ("The documents do not say. Visitors are welcome from 14:00 [1].", True, True),
        ("The documents do not say. Most hospitals grant twenty-five.", True, False),
        ("Full-time staff have 20 days of paid time off a year [1].", False, False),
        ("Visitors are welcome on the general wards from 14:00 to 20:00 [1].", False, True),
    ],
)
def test_an_unanswerable_question_needs_a_refusal_without_an_invention(
    answer: str, is_refusal_found: bool, is_grounded: bool
) -> None:
    row = _measured(answer, UNANSWERABLE)
    assert (row.is_answerable, row.is_refusal, row.is_grounded) == (False, is_refusal_found, is_grounded)
    assert not row.is_cited


def test_a_question_that_is_repeated_as_a_statement_is_not_grounded() -> None:
    """The question is not a source: nothing in the passages says that visitors may bring dogs."""
    question = replace(UNANSWERABLE, question="May visitors bring their dogs along?")
    assert _measured("Visitors may bring their dogs along [1].", question).is_grounded is False


def test_statements_that_were_not_read_are_missing() -> None:
    """Neither grounded nor invented."""
    row = _measured("Full-time staff have 20 days [2].", failure="the endpoint did not answer")
    assert (row.is_grounded, row.unsupported_statements) == (None, None)
    assert row.missing_reason == "the endpoint did not answer"


def test_a_refusal_in_the_recipes_own_words_is_recognized_in_any_language() -> None:
    own = "Kein Dokument, das Sie sehen dürfen, beantwortet diese Frage."
    assert is_refusal("Kein Dokument beantwortet diese Frage.", own)
    assert not is_refusal("Vollzeitkräfte haben 20 Tage Urlaub.", own)


@pytest.mark.parametrize(
    "statement",
    [
        "The documents say that visitors may not smoke.",
        "Documents must not leave the ward.",
        "Staff do not answer questions by phone.",
        "There is no limit.",
        "Patients receive information in no more than two days.",
    ],
)
def test_an_answer_with_a_negation_is_no_refusal(statement: str) -> None:
    assert not is_refusal(statement, SETTINGS.nothing_found)


def test_the_model_is_asked_as_the_gateway_asks_it() -> None:
    example = build_example(ANSWERABLE, PROMPT)
    asked = build_conversation(PROMPT.system_prompt, ANSWERABLE.question, "")
    texts = [f"{one.title} (version 1)\n{one.text}" for one in (VISITS, LEAVE)]
    fenced = "\n\n".join(f"<document {n}>\n{text}\n</document {n}>" for n, text in enumerate(texts, start=1))
    expected = PROMPT.template.replace("{passages}", fenced).replace("{question}", ANSWERABLE.question)
    assert example.question == [asked[0], {"role": "user", "content": expected}]
    assert example.subject_key == "leave.md"
    assert build_example(UNANSWERABLE, PROMPT).example_id != example.example_id
