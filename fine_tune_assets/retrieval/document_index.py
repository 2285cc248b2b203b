"""Builds the document index and measures it, which decides whether it may become live.

A metric that is missing or below its floor closes the gate.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.retrieval.chunks import CountTokens, chunk_document
from fine_tune_assets.retrieval.documents import Document
from fine_tune_assets.retrieval.index_build import (
    EncodePassages,
    build_index,
    index_fingerprint,
    open_index,
    remove_index,
)
from fine_tune_assets.retrieval.retrieval_quality import (
    BundledQuestions,
    LabelledQuestion,
    SearchQuestion,
    measure_abstention,
    measure_retrieval,
    sample_known_items,
)
from fine_tune_assets.retrieval.search import Index, retrieve
from fine_tune_assets.retrieval.stores import Floats, Store
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.serving_rows import KnowledgeChunk


@dataclass(frozen=True)
class IndexRequirements:
    """The recipe's settings for search, and its floors."""

    passages: int
    minimum_score: float
    chunk_tokens: int
    recall_floor: float
    mrr_floor: float
    refusal_rate_floor: float


@dataclass(frozen=True)
class IndexEnvironment:
    """Where and with what an index is made."""

    folder: Path
    store: Store
    format_fingerprint: str
    encode_passages: EncodePassages
    encode: Callable[[Sequence[str]], Floats]
    count: CountTokens


def build_chunk_table(documents: Sequence[Document], chunk_tokens: int, count: CountTokens) -> pa.Table:
    rows = [
        _chunk_row(document, chunk) for document in documents for chunk in chunk_document(document, chunk_tokens, count)
    ]
    return table_from_rows(rows, KnowledgeChunk.SCHEMA)


def make_index(
    chunks: pa.Table,
    environment: IndexEnvironment,
    requirements: IndexRequirements,
    bundled: BundledQuestions,
    own_questions: Sequence[LabelledQuestion],
    now: datetime,
) -> dict[str, Any]:
    """Return the row of `knowledge_indexes`. An empty index is not measured: it can't return wrong passages."""
    fingerprint = index_fingerprint(chunks, environment.format_fingerprint, environment.store.name)
    build_index(environment.folder, environment.store, fingerprint, chunks, environment.encode_passages)
    absent = dict.fromkeys(("recall", "mrr", "refusal_rate", "custom_recall", "known_item_recall"))
    figures: dict[str, Any] = {**absent, "custom_question_count": len(own_questions), "known_item_count": 0}
    if chunks.num_rows:
        figures = {
            **_measure_bundled(environment, requirements, bundled, now),
            **_measure_index(chunks, fingerprint, environment, requirements, own_questions, now),
        }
    floors = {name: getattr(requirements, name) for name in ("recall_floor", "mrr_floor", "refusal_rate_floor")}
    reason = describe_faults(figures, floors) if chunks.num_rows else ""
    return {
        "index_fingerprint": fingerprint,
        "format_fingerprint": environment.format_fingerprint,
        "store": environment.store.name,
        "documents": len(pc.unique(chunks["source"])),
        "chunks": chunks.num_rows,
        **figures,
        **floors,
        "is_passed": not reason,
        "failure_reason": reason,
    }


def describe_faults(metrics: Mapping[str, Any], floors: Mapping[str, float]) -> str:
    """Describe every metric that is missing or below its floor; empty if there is none."""
    limits = {
        "recall": floors["recall_floor"],
        "mrr": floors["mrr_floor"],
        "refusal_rate": floors["refusal_rate_floor"],
        **({"custom_recall": floors["recall_floor"]} if metrics["custom_question_count"] else {}),
        **({"known_item_recall": floors["recall_floor"]} if metrics["known_item_count"] else {}),
    }
    problems = [
        f"{name} is not measured"
        if metrics[name] is None
        else f"{name} is {metrics[name]:.3f}, below the floor of {floor:g}"
        for name, floor in limits.items()
        if metrics[name] is None or metrics[name] < floor
    ]
    return "; ".join(problems)


def _measure_bundled(
    at: IndexEnvironment, requirements: IndexRequirements, shipped: BundledQuestions, now: datetime
) -> dict[str, Any]:
    """Measure the bundled questions on a temporary index that contains only the bundled documents."""
    with temporary_index(build_chunk_table(shipped.documents, requirements.chunk_tokens, at.count), at) as index:
        ask = _make_search(index, requirements, now)
        quality = measure_retrieval(shipped.answerable, ask)
        return {
            "recall": quality.recall,
            "mrr": quality.mrr,
            "refusal_rate": measure_abstention(shipped.unanswerable, ask),
        }


@contextmanager
def temporary_index(chunks: pa.Table, at: IndexEnvironment) -> Iterator[Index]:
    """An index in the installation's store that is removed when the block ends."""
    name = uuid.uuid4().hex
    try:
        build_index(at.folder, at.store, name, chunks, at.encode_passages)
        yield open_index(at.folder, at.store, name, at.encode)
    finally:
        remove_index(at.folder, at.store, name)


def _measure_index(
    chunks: pa.Table,
    fingerprint: str,
    at: IndexEnvironment,
    requirements: IndexRequirements,
    custom: Sequence[LabelledQuestion],
    now: datetime,
) -> dict[str, Any]:
    ask = _make_search(open_index(at.folder, at.store, fingerprint, at.encode), requirements, now)
    custom_quality, known_quality = (
        measure_retrieval(custom, ask),
        measure_retrieval(sample_known_items(chunks, now.date().isoformat()), ask),
    )
    return {
        "custom_question_count": custom_quality.questions,
        "custom_recall": custom_quality.recall,
        "known_item_count": known_quality.questions,
        "known_item_recall": known_quality.recall,
    }


def _make_search(index: Index, requirements: IndexRequirements, now: datetime) -> SearchQuestion:
    return lambda question, labels: retrieve(
        index, question, labels=labels, now=now, limit=requirements.passages, minimum_score=requirements.minimum_score
    )


def _chunk_row(document: Document, chunk: Any) -> dict[str, Any]:
    metadata = document.metadata
    return {
        "chunk_id": chunk.chunk_id,
        "source": document.source,
        "kind": document.kind,
        "title": metadata.title,
        "version": metadata.version,
        "valid_from": metadata.valid_from,
        "valid_to": metadata.valid_to,
        "labels": list(metadata.labels),
        "heading_path": list(chunk.headings),
        "text": chunk.text,
        "tokens": chunk.tokens,
    }
