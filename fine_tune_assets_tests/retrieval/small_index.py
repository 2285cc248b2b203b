"""Documents and small indexes for these tests, with the real encoder and stores."""

from datetime import UTC, datetime
from pathlib import Path

from fine_tune_assets.core.prompts.retrieval_contract import EVERYONE
from fine_tune_assets.embeddings.encoder import bundled_encoder, encode_passages, encoder_version, piece_counter
from fine_tune_assets.retrieval.document_index import build_chunk_table
from fine_tune_assets.retrieval.documents import Block, Document, DocumentMetadata
from fine_tune_assets.retrieval.index_build import build_index, index_fingerprint, open_index
from fine_tune_assets.retrieval.search import Index, index_format
from fine_tune_assets.retrieval.stores import Store

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
LEAVE = "Full-time staff have 20 days of paid time off a year."
VISITS = "Visitors are welcome on the general wards from 14:00 to 20:00."
SALARIES = "The salary of a ward head is paid in band 12 of the pay scale."


def document(
    source: str, text: str, labels: tuple[str, ...] = (EVERYONE,), days: tuple[str | None, str | None] = (None, None)
) -> Document:
    metadata = DocumentMetadata(source.removesuffix(".md").capitalize(), "1", labels, *days)
    return Document(source, "markdown", metadata, (Block(text, ("Rules",)),))


def make_index(folder: Path, store: Store, *documents: Document) -> Index:
    chunks = build_chunk_table(documents, 160, piece_counter())
    fingerprint = index_fingerprint(chunks, index_format(encoder_version()), store.name)
    build_index(folder, store, fingerprint, chunks, encode_passages)
    return open_index(folder, store, fingerprint, bundled_encoder().encode)
