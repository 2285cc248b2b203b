"""Measures answers from documents: whether the passages support them, whether they cite the right one, and whether they refuse a
question that no passage answers.

A model is asked as the gateway asks it: the same template, passages and order.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fine_tune_assets.claims.citations import blank_citations, check_citations
from fine_tune_assets.claims.refusals import states_refusal
from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.conversations import build_conversation
from fine_tune_assets.core.prompts.retrieval_contract import PassageText, add_passages, parse_passages
from fine_tune_assets.judging.evaluation.model_comparison import ContestantAnswer
from fine_tune_assets.judging.judges.answer_features import rouge_1
from fine_tune_assets.judging.judges.grade_scales import FOUND_FROM
from fine_tune_assets.judging.judges.grades import EvaluationExample
from fine_tune_assets.judging.judges.statement_readers import Claim, Reading, StatementReader
from fine_tune_assets.judging.judges.verifier.record_passages import split_statements
from fine_tune_assets.tables.common_columns import Message
from fine_tune_assets.tables.judging_rows import DocumentAnswer, DocumentQuestion

TASK: Final = "documents"
MIN_REFUSAL_OVERLAP: Final = 0.5
"""Minimum ROUGE-1 F1 of a sentence with the recipe's `nothing_found` for the sentence to count as a refusal."""
_ADDED_CLAUSE: Final = compile_bounded(
    r",?\s+(?=(?:but|because|however|although|though)\b)|,\s+(?=so\b)", re.IGNORECASE
)


@dataclass(frozen=True)
class DocumentPrompt:
    """The recipe's settings that turn a question and its passages into a prompt."""

    system_prompt: str
    template: str
    nothing_found: str


def build_example(question: DocumentQuestion, prompt: DocumentPrompt) -> EvaluationExample:
    """The conversation that the gateway would send, followed by an empty answer: there is no reference."""
    asked = build_conversation(prompt.system_prompt, question.question, "")
    messages = add_passages(asked, _passages(question), prompt.template, prompt.nothing_found)
    return EvaluationExample(
        example_id=f"{question.question_id} {'answerable' if question.answering else 'unanswerable'}",
        subject_key=question.document,
        task=TASK,
        messages=tuple(Message(**message) for message in (*messages, {"role": "assistant", "content": ""})),
    )


def measure_answers(
    answers: Sequence[tuple[DocumentQuestion, ContestantAnswer]],
    reader: StatementReader,
    nothing_found: str,
    adapter_id: str,
    progress: Progress,
) -> list[DocumentAnswer]:
    """One row per answer. The reader reads every statement except refusals, without citations and next to the passages alone: an
    answer that turns the question into a statement is not grounded."""
    statements = [_split_answer(answered.answer.text) for _, answered in answers]
    claims = [
        [Claim(_record(question), one) for one in said if not is_refusal(one, nothing_found)]
        for (question, _), said in zip(answers, statements, strict=True)
    ]
    readings = iter(reader.read([claim for own in claims for claim in own], progress))
    version = fingerprint_json(dict(reader.identity))
    return [
        _measure(question, answered, len(said), [next(readings) for _ in own], adapter_id, version)
        for (question, answered), said, own in zip(answers, statements, claims, strict=True)
    ]


def _split_answer(text: str) -> list[str]:
    """The statements without citations, cut before a clause that could add a claim to a refusal."""
    return [
        part.strip()
        for statement in split_statements(blank_citations(text))
        for part in _ADDED_CLAUSE.split(statement)
        if part.strip()
    ]


def _record(question: DocumentQuestion) -> str:
    return "\n".join(f"{passage.breadcrumb}\n{passage.text}" for passage in _passages(question))


def _measure(
    question: DocumentQuestion,
    answered: ContestantAnswer,
    statement_count: int,
    readings: Sequence[Reading],
    adapter_id: str,
    reader_version: str,
) -> DocumentAnswer:
    """`readings`: of the statements that are not refusals."""
    answer = answered.answer
    check = check_citations(answer.text, _passages(question), question.question)
    failure = next((reading.failure for reading in readings if reading.failure), "")
    unsupported = sum(not reading.supported >= FOUND_FROM for reading in readings)
    claims = sum(found.kind != "citations" for found in check.unsupported)
    is_right = not set(question.answering).isdisjoint(check.cited) and "citations" not in check.counts
    return DocumentAnswer(
        model=answered.contestant.role,
        model_fingerprint=answered.contestant.fingerprint,
        adapter_id=adapter_id,
        question_id=question.question_id,
        document=question.document,
        is_answerable=bool(question.answering),
        answer=answer.text,
        is_finished=answer.is_finished,
        is_refusal=len(readings) < statement_count,
        is_cited=is_right and bool(readings),
        is_grounded=None if failure else statement_count > 0 and not unsupported and not claims,
        unsupported_statements=None if failure else unsupported,
        unsupported_claims=claims,
        reader=reader_version,
        missing_reason=failure,
    )


def is_refusal(statement: str, nothing_found: str) -> bool:
    """Whether a sentence says that the documents do not hold the answer.

    >>> is_refusal("The documents do not say when the canteen opens.", "No document answers this question.")
    True
    """
    if any(rouge_1(one, statement) >= MIN_REFUSAL_OVERLAP for one in split_statements(nothing_found)):
        return True
    return states_refusal(statement)


def _passages(question: DocumentQuestion) -> tuple[PassageText, ...]:
    return parse_passages(passage.to_row() for passage in question.passages)
