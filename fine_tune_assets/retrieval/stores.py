"""Protocol of the chunk stores (LanceDB, PostgreSQL), with search by vectors and by words.

Every store applies the caller's access filter before it searches.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fine_tune_assets.core.access_labels import is_label
from fine_tune_assets.core.errors import FineTuneError

Floats = NDArray[np.float32]
COLUMNS = ("chunk_id", "title", "source", "version", "heading_path", "text")
"""Columns returned by a search, in addition to the similarity."""
LOOKUP_COLUMNS = (*COLUMNS, "labels")
"""Columns returned by a lookup by id."""
LANCEDB, PGVECTOR = "lancedb", "pgvector"
_CHUNK_ID = re.compile(r"[0-9a-f]{16}")


class KnowledgeStoreError(FineTuneError):
    """An index can't be built, opened or searched."""


@dataclass(frozen=True)
class AccessFilter:
    """What a caller may see: chunks with at least one of the labels that are valid on the day."""

    labels: frozenset[str]
    day: date

    @property
    def sorted_labels(self) -> list[str]:
        """Only valid labels: they become part of a query."""
        return filter_labels(self.labels)


def filter_labels(labels: Collection[str]) -> list[str]:
    return sorted(label for label in labels if is_label(label))


def filter_chunk_ids(chunk_ids: Sequence[str]) -> list[str]:
    """Keep only valid chunk ids: they become part of a query."""
    return [chunk_id for chunk_id in chunk_ids if _CHUNK_ID.fullmatch(chunk_id)]


@dataclass(frozen=True)
class Hit:
    row: dict[str, Any]
    cosine: float


class OpenStore(Protocol):
    """Thread-safe. Filters out what the caller may not see before scoring."""

    def search_vectors(self, vector: Floats, access: AccessFilter, limit: int) -> list[Hit]: ...

    def search_words(self, question: str, vector: Floats, access: AccessFilter, limit: int) -> list[Hit]: ...

    def find_chunks(self, chunk_ids: Sequence[str], labels: Collection[str]) -> list[dict[str, Any]]:
        """Return LOOKUP_COLUMNS of existing chunks with one of the labels, in any order and regardless of their validity."""

    def close(self) -> None: ...


class Store(Protocol):
    name: str

    def build(self, fingerprint: str, chunks: pa.Table, vectors: Floats) -> None:
        """Build atomically. Keeps an existing index, which may be in use."""

    def open(self, fingerprint: str) -> OpenStore:
        """Raises KnowledgeStoreError if the index is missing or was changed."""

    def remove(self, fingerprint: str) -> None: ...

    def list_indexes(self) -> list[str]:
        """Shortened fingerprints of all indexes."""


class EmptyStore:
    """An index without chunks."""

    def search_vectors(self, vector: Floats, access: AccessFilter, limit: int) -> list[Hit]:  # noqa: ARG002
        return []

    def search_words(self, question: str, vector: Floats, access: AccessFilter, limit: int) -> list[Hit]:  # noqa: ARG002
        return []

    def find_chunks(self, chunk_ids: Sequence[str], labels: Collection[str]) -> list[dict[str, Any]]:  # noqa: ARG002
        return []

    def close(self) -> None:
        pass


def strip_operators(question: str) -> Collection[str]:
    """Split a question into words without search operators."""
    return ["".join(letter for letter in word if letter.isalnum()) for word in question.split()]


def build_search_texts(chunks: pa.Table) -> list[str]:
    """Each chunk's text preceded by its title and headings, which often contain the words of a question."""
    rows = chunks.select(["title", "heading_path", "text"]).to_pylist()
    return ["\n".join(dict.fromkeys((row["title"], *row["heading_path"], row["text"]))) for row in rows]
