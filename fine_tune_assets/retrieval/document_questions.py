"""Labelled questions with the passages that a release would answer them from, for the comparison of candidate and incumbent.

Each question has two prompts: one with the passages that the gateway would find, and one with the nearest passages that do not
answer it, where the model must say so.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from fine_tune_assets.core.fingerprints import fingerprint_text, short
from fine_tune_assets.core.prompts.retrieval_contract import Passage
from fine_tune_assets.retrieval.retrieval_quality import LabelledQuestion
from fine_tune_assets.retrieval.search import Index, rank, retrieve
from fine_tune_assets.retrieval.stores import AccessFilter
from fine_tune_assets.tables.common_columns import Passage as PassageRow
from fine_tune_assets.tables.judging_rows import DocumentQuestion


def find_document_questions(
    index: Index, questions: Sequence[LabelledQuestion], limit: int, minimum_score: float, now: datetime
) -> Iterator[DocumentQuestion]:
    """`limit`, `minimum_score`: as for `retrieve`. A question whose passage is not found has the second prompt only.

    The nearest other passages are taken whatever their score: below the minimum score, the gateway would not ask the model.
    """
    for one in questions:
        found = retrieve(index, one.question, labels=one.labels, now=now, limit=limit, minimum_score=minimum_score)
        ranked = rank(index, one.question, AccessFilter(one.labels, now.date()))
        others = [passage for passage in ranked if not one.is_relevant(passage)][:limit]
        answering = tuple(n for n, passage in enumerate(found.passages, start=1) if one.is_relevant(passage))
        document = next((passage.source for passage in ranked if one.is_relevant(passage)), "")
        if answering:
            yield _document_question(one, found.passages, answering, document)
        if others:
            yield _document_question(one, others, (), document)


def _document_question(
    labelled: LabelledQuestion, passages: Sequence[Passage], answering: tuple[int, ...], document: str
) -> DocumentQuestion:
    question_id, labels = short(fingerprint_text(labelled.question)), tuple(sorted(labelled.labels))
    return DocumentQuestion(
        question_id=question_id,
        document=document or question_id,
        question=labelled.question,
        passages=tuple(_passage_row(passage, labels) for passage in passages),
        answering=answering,
    )


def _passage_row(passage: Passage, labels: tuple[str, ...]) -> PassageRow:
    values = {name: value for name, value in vars(passage).items() if name != "score"}
    return PassageRow(**values, labels=labels)
