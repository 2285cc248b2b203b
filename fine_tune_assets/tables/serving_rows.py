"""Tables of stage 9: the production model and its document index."""

from typing import Annotated

from fine_tune_assets.tables.common_columns import ProductLine
from fine_tune_assets.tables.record_classes import Column, Record


class ServedModel(Record):
    """The production model and its deployment."""

    release_id: Annotated[str, Column("Release that answers")]
    line: ProductLine
    colour: Annotated[str, Column("`blue` or `green`")]
    engine: Annotated[str, Column("Engine that runs the model")]
    endpoint: Annotated[str, Column("Address of the gateway")]


class KnowledgeChunk(Record):
    """A chunk of a document."""

    chunk_id: Annotated[str, Column("Stable while the chunk's text and heading position stay the same")]
    source: Annotated[str, Column("Path of the document below `data/knowledge`")]
    kind: Annotated[str, Column("`markdown`, `text`, `html`, `pdf`, `csv` or `sql`")]
    title: Annotated[str, Column("Document title, used in citations")]
    version: Annotated[str, Column("Version from the document, or part of its content hash")]
    valid_from: Annotated[str | None, Column("First day of validity; absent means no start")]
    valid_to: Annotated[str | None, Column("Last day of validity; absent means no end")]
    labels: Annotated[tuple[str, ...], Column("Access labels; callers need one of them")]
    heading_path: Annotated[tuple[str, ...], Column("Headings above it, outermost first")]
    text: Annotated[str, Column("Text of the chunk; table rows include their header", is_report_text=True)]
    tokens: Annotated[int, Column("Tokens of the embedder")]


class UnreadableDocument(Record):
    """A document that could not be indexed, with the reason."""

    source: Annotated[str, Column("Path of the document below `data/knowledge`")]
    reason: Annotated[str, Column("Reason, from a fixed list")]
    detail: Annotated[str, Column("Reason and remedy in words; never its text")]


class KnowledgeIndex(Record):
    """A measured index of the documents."""

    index_fingerprint: Annotated[str, Column("Fingerprint of its chunks and configuration")]
    format_fingerprint: Annotated[str, Column("Fingerprint of the embedder, build and search configuration")]
    store: Annotated[str, Column("`lancedb` or `pgvector`")]
    documents: Annotated[int, Column("Documents in the index")]
    chunks: Annotated[int, Column("Chunks in the index")]
    recall: Annotated[float | None, Column("Share of labelled questions that find their passage; absent if unmeasured")]
    mrr: Annotated[float | None, Column("Mean reciprocal rank of the passage")]
    refusal_rate: Annotated[float | None, Column("Share of unanswerable questions for which nothing is found")]
    custom_question_count: Annotated[int, Column("Custom questions of this installation")]
    custom_recall: Annotated[float | None, Column("Share of custom questions that find their passage")]
    known_item_count: Annotated[int, Column("Sentences of the documents used as queries")]
    known_item_recall: Annotated[float | None, Column("Share of sentences that find their chunk")]
    recall_floor: Annotated[float, Column("Floor of the recalls at the time")]
    mrr_floor: Annotated[float, Column("Floor of mrr")]
    refusal_rate_floor: Annotated[float, Column("Floor of the refusal rate")]
    is_passed: Annotated[bool | None, Column("Whether all metrics meet their floors; absent if not measured")]
    failure_reason: Annotated[str, Column("Metrics below their floor; empty if passed")]


class ServedKnowledge(Record):
    """The live index."""

    index_fingerprint: Annotated[str, Column("Live index")]
    format_fingerprint: Annotated[str, Column("Format fingerprint; releases of this format use the index")]
    chunks: Annotated[int, Column("Chunks in the index")]
