"""Measures whether questions find their passages: recall at k, mean reciprocal rank, and what is rightly not found.

Owns the labelled sets (abstracts of PubMedQA that come with the project, questions of the installation's own, and sentences of
the documents themselves) and the figures. A figure that nobody could measure is absent, never 0.
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
from fine_tune_assets.retrieval.documents import Block, Document, Facts
from fine_tune_assets.retrieval.search import Passages

Ask = Callable[[str, frozenset[str]], Passages]
"""A question, and the labels of who asks."""
OWN_QUESTIONS = "own_questions.jsonl"
_SHIPPED = re.compile(r"Abstract: (?P<abstract>.*?)\s*\nQuestion: (?P<question>.*?)\s*\nAnswer:", re.DOTALL)
_KNOWN_ITEMS = 40
_SENTENCE = re.compile(r"[^.!?\n]{40,200}[.!?]?")


class QuestionsError(FineTuneError):
    """A file of labelled questions can't be used."""


@dataclass(frozen=True)
class LabelledQuestion:
    question: str
    is_relevant: Callable[[Any], bool]
    """Of a passage."""
    labels: frozenset[str] = frozenset({EVERYONE})


@dataclass(frozen=True)
class RetrievalQuality:
    questions: int
    recall: float | None
    """Share of questions with a right passage among those that are returned."""
    mrr: float | None


def measure(questions: Sequence[LabelledQuestion], ask: Ask) -> RetrievalQuality:
    if not questions:
        return RetrievalQuality(0, None, None)
    ranks = [_rank(asked, ask(asked.question, asked.labels)) for asked in questions]
    found = [rank for rank in ranks if rank is not None]
    return RetrievalQuality(len(ranks), len(found) / len(ranks), sum(1 / rank for rank in found) / len(ranks))


def refused_share(questions: Sequence[str], ask: Ask) -> float | None:
    """Share of questions that no document answers for which nothing is found."""
    if not questions:
        return None
    return sum(1 for question in questions if not ask(question, frozenset({EVERYONE})).found) / len(questions)


def _rank(asked: LabelledQuestion, passages: Passages) -> int | None:
    return next((place for place, passage in enumerate(passages.found, start=1) if asked.is_relevant(passage)), None)


@dataclass(frozen=True)
class ShippedSet:
    documents: tuple[Document, ...]
    answered: tuple[LabelledQuestion, ...]
    unanswered: tuple[str, ...]
    """Of abstracts that are not among the documents."""


def read_shipped_set(file: Path) -> ShippedSet:
    """Each abstract is a document; every third is left out, and its question finds nothing. Raises QuestionsError."""
    try:
        pairs = [
            _pair(json.loads(line)["query"]) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()
        ]
    except (OSError, ValueError, KeyError, TypeError):
        raise QuestionsError(f"The labelled questions {file.name} can't be read. Restore the file.") from None
    kept = [(f"abstract-{number}", *pair) for number, pair in enumerate(pairs) if number % 3 != 2]
    facts = Facts("Abstract", "1", (EVERYONE,), None, None)
    documents = tuple(Document(source, "text", facts, (Block(abstract),)) for source, abstract, _ in kept)
    answered = tuple(LabelledQuestion(question, _from(source)) for source, _, question in kept)
    return ShippedSet(
        documents, answered, tuple(question for number, (_, question) in enumerate(pairs) if number % 3 == 2)
    )


def _pair(query: str) -> tuple[str, str]:
    found = _SHIPPED.search(query)
    if found is None:
        raise ValueError("no abstract")
    return found["abstract"], found["question"]


def _from(source: str, contains: str = "") -> Callable[[Any], bool]:
    return lambda passage: passage.source == source and contains.lower() in passage.text.lower()


def read_own_questions(file: Path) -> list[LabelledQuestion]:
    """The installation's own: `question`, `source` (path of the document), and `contains` and `labels` if wanted. Raises
    QuestionsError. No file is no question."""
    if not file.is_file():
        return []
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
    return [_own_question(line, number) for number, line in lines if line.strip()]


def _own_question(line: str, number: int) -> LabelledQuestion:
    try:
        said = json.loads(line)
        unknown = set(said) - {"question", "source", "contains", "labels"}
        texts = [said["question"], said["source"], said.get("contains", ""), *said.get("labels", [])]
        if unknown or not all(isinstance(text, str) for text in texts):
            raise ValueError("fields")
    except (ValueError, KeyError, TypeError):
        raise QuestionsError(
            f"Line {number} of {OWN_QUESTIONS} is no object with question and source (and contains, labels) as texts."
        ) from None
    labels = frozenset({EVERYONE, *said.get("labels", [])})
    return LabelledQuestion(said["question"], _from(said["source"], said.get("contains", "")), labels)


def known_items(chunks: pa.Table, on_day: str) -> list[LabelledQuestion]:
    """Sentences of the documents themselves: who asks with a chunk's own words must find it, or the index is broken."""
    rows = [row for row in chunks.to_pylist() if _holds_on(row, on_day)]
    step = max(1, len(rows) // _KNOWN_ITEMS)
    asked = ((row, _SENTENCE.search(row["text"])) for row in rows[::step][:_KNOWN_ITEMS])
    return [
        LabelledQuestion(found.group().strip(), _same_text(row["text"]), frozenset(row["labels"]))
        for row, found in asked
        if found
    ]


def _same_text(text: str) -> Callable[[Any], bool]:
    """Not the same id: the same words may stand in two documents."""
    return lambda passage: passage.text == text


def _holds_on(row: dict[str, Any], day: str) -> bool:
    return (row["valid_from"] is None or row["valid_from"] <= day) and (
        row["valid_to"] is None or row["valid_to"] >= day
    )
