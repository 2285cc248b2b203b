"""Builds the index of the documents and measures it: what decides whether it may become live.

Owns which figures there are, and the decision. A figure below its floor, or one that should be there and is not, closes the gate.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.retrieval.chunks import CountTokens, chunks_of
from fine_tune_assets.retrieval.documents import Document
from fine_tune_assets.retrieval.index_build import (
    EncodePassages,
    build_index,
    index_fingerprint,
    open_index,
    remove_index,
)
from fine_tune_assets.retrieval.retrieval_quality import (
    Ask,
    LabelledQuestion,
    ShippedSet,
    known_items,
    measure,
    refused_share,
)
from fine_tune_assets.retrieval.search import Index, retrieve
from fine_tune_assets.retrieval.stores import Floats, Store
from fine_tune_assets.tables.records import table_of
from fine_tune_assets.tables.serving import KnowledgeChunk


@dataclass(frozen=True)
class Asked:
    """How questions are asked and what is wanted of the answers: of the recipe."""

    passages: int
    minimum_score: float
    chunk_tokens: int
    recall_floor: float
    mrr_floor: float
    refused_floor: float


@dataclass(frozen=True)
class Workplace:
    """Where an index is made, and with what."""

    folder: Path
    store: Store
    format_fingerprint: str
    encode_passages: EncodePassages
    encode: Callable[[Sequence[str]], Floats]
    count: CountTokens


def chunk_table(documents: Sequence[Document], chunk_tokens: int, count: CountTokens) -> pa.Table:
    rows = [_row(document, chunk) for document in documents for chunk in chunks_of(document, chunk_tokens, count)]
    return table_of(rows, KnowledgeChunk.SCHEMA)


def make_index(
    chunks: pa.Table, at: Workplace, asked: Asked, shipped: ShippedSet, own: Sequence[LabelledQuestion], now: datetime
) -> dict[str, Any]:
    """The row of `knowledge_indexes`. An index without a document is not measured: in it nothing can be found wrongly."""
    fingerprint = index_fingerprint(chunks, at.format_fingerprint, at.store.name)
    build_index(at.folder, at.store, fingerprint, chunks, at.encode_passages)
    absent = dict.fromkeys(("recall", "mrr", "refused", "own_recall", "known_recall"))
    figures: dict[str, Any] = {**absent, "own_questions": len(own), "known_items": 0}
    if chunks.num_rows:
        figures = {**_of_shipped(at, asked, shipped, now), **_of_index(chunks, fingerprint, at, asked, own, now)}
    floors = {name: getattr(asked, name) for name in ("recall_floor", "mrr_floor", "refused_floor")}
    why = faults_of(figures, floors) if chunks.num_rows else ""
    return {
        "index_fingerprint": fingerprint,
        "format_fingerprint": at.format_fingerprint,
        "store": at.store.name,
        "documents": len(pc.unique(chunks["source"])),
        "chunks": chunks.num_rows,
        **figures,
        **floors,
        "is_passed": not why,
        "why": why,
    }


def faults_of(figures: Mapping[str, Any], floors: Mapping[str, float]) -> str:
    """Every figure that is below its floor or absent, in plain words; empty if none is."""
    limits = {
        "recall": floors["recall_floor"],
        "mrr": floors["mrr_floor"],
        "refused": floors["refused_floor"],
        **({"own_recall": floors["recall_floor"]} if figures["own_questions"] else {}),
        **({"known_recall": floors["recall_floor"]} if figures["known_items"] else {}),
    }
    said = [
        f"{name} is not measured"
        if figures[name] is None
        else f"{name} is {figures[name]:.3f} where {floor:g} is wanted"
        for name, floor in limits.items()
        if figures[name] is None or figures[name] < floor
    ]
    return "; ".join(said)


def _of_shipped(at: Workplace, asked: Asked, shipped: ShippedSet, now: datetime) -> dict[str, Any]:
    """On an index of its own, which is removed again: these documents are nobody's."""
    chunks, name = chunk_table(shipped.documents, asked.chunk_tokens, at.count), uuid.uuid4().hex
    try:
        build_index(at.folder, at.store, name, chunks, at.encode_passages)
        ask = _asking(open_index(at.folder, at.store, name, at.encode), asked, now)
        quality = measure(shipped.answered, ask)
        return {"recall": quality.recall, "mrr": quality.mrr, "refused": refused_share(shipped.unanswered, ask)}
    finally:
        remove_index(at.folder, at.store, name)


def _of_index(
    chunks: pa.Table, fingerprint: str, at: Workplace, asked: Asked, own: Sequence[LabelledQuestion], now: datetime
) -> dict[str, Any]:
    ask = _asking(open_index(at.folder, at.store, fingerprint, at.encode), asked, now)
    mine, known = measure(own, ask), measure(known_items(chunks, now.date().isoformat()), ask)
    return {
        "own_questions": mine.questions,
        "own_recall": mine.recall,
        "known_items": known.questions,
        "known_recall": known.recall,
    }


def _asking(index: Index, asked: Asked, now: datetime) -> Ask:
    return lambda question, labels: retrieve(
        index, question, labels=labels, now=now, limit=asked.passages, minimum_score=asked.minimum_score
    )


def _row(document: Document, chunk: Any) -> dict[str, Any]:
    facts = document.facts
    return {
        "chunk_id": chunk.chunk_id,
        "source": document.source,
        "kind": document.kind,
        "title": facts.title,
        "version": facts.version,
        "valid_from": facts.valid_from,
        "valid_to": facts.valid_to,
        "labels": list(facts.labels),
        "heading_path": list(chunk.headings),
        "text": chunk.text,
        "tokens": chunk.tokens,
    }
