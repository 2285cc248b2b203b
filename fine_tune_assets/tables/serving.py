"""Tables of stage 9: the served release, and the documents it answers from."""

from typing import Annotated

from fine_tune_assets.tables.columns_in_common import Line
from fine_tune_assets.tables.records import Column, Record


class ServedModel(Record):
    """A release in front of users."""

    release_id: Annotated[str, Column("Release that answers")]
    line: Line
    colour: Annotated[str, Column("`blue` or `green`")]
    engine: Annotated[str, Column("Program that runs the model")]
    endpoint: Annotated[str, Column("Address of the gateway")]


class KnowledgeChunk(Record):
    """A chunk of a document."""

    chunk_id: Annotated[str, Column("Stays the same while the chunk's text and place in its document's headings do")]
    source: Annotated[str, Column("Path of the document below `data/knowledge`")]
    kind: Annotated[str, Column("`markdown`, `text`, `html`, `pdf`, `csv` or `sql`")]
    title: Annotated[str, Column("Title of the document, as citations name it")]
    version: Annotated[str, Column("Version as the document states it, or a part of its content's hash")]
    valid_from: Annotated[str | None, Column("First day on which it holds; absent: it always did")]
    valid_to: Annotated[str | None, Column("Last day; absent: it has none")]
    labels: Annotated[tuple[str, ...], Column("Who may see it: callers with one of these")]
    heading_path: Annotated[tuple[str, ...], Column("Headings above it, the outermost first")]
    text: Annotated[str, Column("The chunk; a table's rows with their header", is_report_text=True)]
    tokens: Annotated[int, Column("Word pieces of the embedder")]


class UnreadableDocument(Record):
    """A document that is not in the index, and why."""

    source: Annotated[str, Column("Path of the document below `data/knowledge`")]
    reason: Annotated[str, Column("Why it is not in the index")]
    detail: Annotated[str, Column("The same for who repairs it; never its text")]


class KnowledgeIndex(Record):
    """An index of the documents, measured."""

    index_fingerprint: Annotated[str, Column("Fingerprint of its chunks and of how it was made")]
    format_fingerprint: Annotated[str, Column("Fingerprint of the embedder and of how it is made and searched")]
    store: Annotated[str, Column("`lancedb` or `pgvector`")]
    documents: Annotated[int, Column("Documents in it")]
    chunks: Annotated[int, Column("Chunks in it")]
    recall: Annotated[float | None, Column("Share of labelled questions that find their passage; absent: not measured")]
    mrr: Annotated[float | None, Column("Mean reciprocal rank of that passage")]
    refused: Annotated[float | None, Column("Share of questions that no document answers for which nothing is found")]
    own_questions: Annotated[int, Column("Questions of the installation's own")]
    own_recall: Annotated[float | None, Column("Share of these that find their passage")]
    known_items: Annotated[int, Column("Sentences of the documents that were asked for")]
    known_recall: Annotated[float | None, Column("Share of these that find their chunk")]
    recall_floor: Annotated[float, Column("Floor of the recalls when it was measured")]
    mrr_floor: Annotated[float, Column("Floor of mrr")]
    refused_floor: Annotated[float, Column("Floor of refused")]
    is_passed: Annotated[bool | None, Column("Whether all figures reach their floors; absent: nobody measured")]
    why: Annotated[str, Column("What does not; empty if it passed")]


class ServedKnowledge(Record):
    """The index that answers."""

    index_fingerprint: Annotated[str, Column("Index that answers")]
    format_fingerprint: Annotated[str, Column("Releases of this format answer from it")]
    chunks: Annotated[int, Column("Chunks in it")]
