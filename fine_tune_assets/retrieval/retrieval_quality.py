"""Measures retrieval: recall at k, mean reciprocal rank, and abstention on unanswerable questions.

Uses the bundled PubMedQA abstracts, the installation's own questions, and sentences of the documents. A metric that can't be
measured is None, never 0.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.prompts.retrieval_contract import EVERYONE
from fine_tune_assets.retrieval.documents import Block, Document, DocumentMetadata
from fine_tune_assets.retrieval.search import SearchResult

SearchQuestion = Callable[[str, frozenset[str]], SearchResult]
"""A question, and the labels of the person who asks."""
OWN_QUESTIONS = "own_questions.jsonl"
_MAX_KNOWN_ITEMS = 40
_SENTENCE = re.compile(r"[^.!?\n]{40,200}[.!?]?")


class QuestionsError(FineTuneError):
    """A file of labelled questions is invalid."""


@dataclass(frozen=True)
class LabelledQuestion:
    question: str
    is_relevant: Callable[[Any], bool]
    """Whether a passage answers the question."""
    labels: frozenset[str] = frozenset({EVERYONE})


@dataclass(frozen=True)
class RetrievalQuality:
    questions: int
    recall: float | None
    """Share of questions with a relevant passage in the results."""
    mrr: float | None


def measure_retrieval(questions: Sequence[LabelledQuestion], search: SearchQuestion) -> RetrievalQuality:
    if not questions:
        return RetrievalQuality(0, None, None)
    ranks = [_find_rank(item, search(item.question, item.labels)) for item in questions]
    hits = [rank for rank in ranks if rank is not None]
    return RetrievalQuality(len(ranks), len(hits) / len(ranks), sum(1 / rank for rank in hits) / len(ranks))


def measure_abstention(questions: Sequence[str], search: SearchQuestion) -> float | None:
    """Share of unanswerable questions for which nothing is found."""
    if not questions:
        return None
    return sum(1 for question in questions if not search(question, frozenset({EVERYONE})).passages) / len(questions)


def _find_rank(question: LabelledQuestion, passages: SearchResult) -> int | None:
    return next(
        (place for place, passage in enumerate(passages.passages, start=1) if question.is_relevant(passage)), None
    )


@dataclass(frozen=True)
class BundledQuestions:
    documents: tuple[Document, ...]
    answerable: tuple[LabelledQuestion, ...]
    unanswerable: tuple[str, ...]
    """Questions whose abstracts are not in the index."""


def read_bundled_questions(file: Path) -> BundledQuestions:
    """Index two of three abstracts; the questions of the others must find nothing. Raises QuestionsError."""
    try:
        pairs = [
            _parse_pair(json.loads(line)["query"])
            for line in file.read_text(encoding="utf-8").splitlines()
            if line.strip()
        ]
    except (OSError, ValueError, KeyError, TypeError):
        raise QuestionsError(f"The labelled questions {file.name} can't be read. Restore the file.") from None
    indexed = [(f"abstract-{number}", *pair) for number, pair in enumerate(pairs) if number % 3 != 2]
    metadata = DocumentMetadata("Abstract", "1", (EVERYONE,), None, None)
    documents = tuple(Document(source, "text", metadata, (Block(abstract),)) for source, abstract, _ in indexed)
    answered = tuple(LabelledQuestion(question, _is_from(source)) for source, _, question in indexed)
    return BundledQuestions(
        documents, answered, tuple(question for number, (_, question) in enumerate(pairs) if number % 3 == 2)
    )


def _parse_pair(query: str) -> tuple[str, str]:
    abstract, asks, rest = query.partition("Abstract: ")[2].partition("\nQuestion: ")
    question, answers, _ = rest.partition("\nAnswer:")
    if not asks or not answers:
        raise ValueError("no abstract")
    return abstract.rstrip(), question.rstrip()


def _is_from(source: str, contains: str = "") -> Callable[[Any], bool]:
    return lambda passage: passage.source == source and contains.lower() in passage.text.lower()


def read_own_questions(file: Path) -> list[LabelledQuestion]:
    """Read the installation's questions: `question`, `source` (document path), optional `contains` and `labels`.

    Returns an empty list if the file does not exist. Raises QuestionsError.
    """
    if not file.is_file():
        return []
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
    return [_parse_own_question(line, number) for number, line in lines if line.strip()]


def _parse_own_question(line: str, number: int) -> LabelledQuestion:
    try:
        values = json.loads(line)
        unknown = set(values) - {"question", "source", "contains", "labels"}
        texts = [values["question"], values["source"], values.get("contains", ""), *values.get("labels", [])]
        if unknown or not all(isinstance(text, str) for text in texts):
            raise ValueError("fields")
    except (ValueError, KeyError, TypeError):
        raise QuestionsError(
            f"Line {number} of {OWN_QUESTIONS} must be an object with the texts question and source (optional: contains, labels)."
        ) from None
    labels = frozenset({EVERYONE, *values.get("labels", [])})
    return LabelledQuestion(values["question"], _is_from(values["source"], values.get("contains", "")), labels)


def sample_known_items(chunks: pa.Table, day: str) -> list[LabelledQuestion]:
    """Sample sentences of the documents. A search for a chunk's own words must find it, or the index is broken."""
    rows = [row for row in chunks.to_pylist() if _is_valid_on(row, day)]
    step = max(1, len(rows) // _MAX_KNOWN_ITEMS)
    samples = ((row, _SENTENCE.search(row["text"])) for row in rows[::step][:_MAX_KNOWN_ITEMS])
    return [
        LabelledQuestion(sentence.group().strip(), _has_text(row["text"]), frozenset(row["labels"]))
        for row, sentence in samples
        if sentence
    ]


def _has_text(text: str) -> Callable[[Any], bool]:
    """Compare text, not ids: two documents may contain the same sentence."""
    return lambda passage: passage.text == text


def _is_valid_on(row: dict[str, Any], day: str) -> bool:
    return (row["valid_from"] is None or row["valid_from"] <= day) and (
        row["valid_to"] is None or row["valid_to"] >= day
    )
