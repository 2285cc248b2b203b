"""Where the chunks of an index lie, and the two ways of searching them: by meaning and by words.

Owns the protocol of a store and what a caller may see, which every store applies before it searches. LanceDB and PostgreSQL are
modules beside this one.
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
"""What comes back of a chunk, besides its similarity."""
NAMED_COLUMNS = (*COLUMNS, "labels")
"""What comes back of a chunk that is asked for by its id."""
LANCEDB, PGVECTOR = "lancedb", "pgvector"
_CHUNK_ID = re.compile(r"[0-9a-f]{16}")


class KnowledgeStoreError(FineTuneError):
    """An index can't be made, opened or searched."""


@dataclass(frozen=True)
class Sees:
    """What a caller may see: chunks with at least one of the labels, on a day on which they hold."""

    labels: frozenset[str]
    on: date

    @property
    def sorted_labels(self) -> list[str]:
        """Only such that are labels: they become part of a query."""
        return known_labels(self.labels)


def known_labels(labels: Collection[str]) -> list[str]:
    return sorted(label for label in labels if is_label(label))


def known_ids(chunk_ids: Sequence[str]) -> list[str]:
    """Only such that are ids of chunks: they become part of a query."""
    return [chunk_id for chunk_id in chunk_ids if _CHUNK_ID.fullmatch(chunk_id)]


@dataclass(frozen=True)
class Hit:
    row: dict[str, Any]
    cosine: float


class OpenStore(Protocol):
    """Safe to share between threads. What a caller may not see is filtered out before anything is scored."""

    def nearest(self, vector: Floats, sees: Sees, limit: int) -> list[Hit]: ...

    def matching(self, question: str, vector: Floats, sees: Sees, limit: int) -> list[Hit]: ...

    def named(self, chunk_ids: Sequence[str], labels: Collection[str]) -> list[dict[str, Any]]:
        """NAMED_COLUMNS of those of the chunks that are there and have one of the labels, in no order, whatever the day is."""

    def close(self) -> None: ...


class Store(Protocol):
    name: str

    def build(self, fingerprint: str, chunks: pa.Table, vectors: Floats) -> None:
        """Whole or absent. One that is there is kept, since it may be in use."""

    def open(self, fingerprint: str) -> OpenStore:
        """Raises KnowledgeStoreError if it is not there or was changed."""

    def remove(self, fingerprint: str) -> None: ...

    def built(self) -> list[str]:
        """Fingerprints, shortened, of all that are there."""


class NoChunks:
    """An index of no chunk: nothing is ever found in it."""

    def nearest(self, vector: Floats, sees: Sees, limit: int) -> list[Hit]:  # noqa: ARG002
        return []

    def matching(self, question: str, vector: Floats, sees: Sees, limit: int) -> list[Hit]:  # noqa: ARG002
        return []

    def named(self, chunk_ids: Sequence[str], labels: Collection[str]) -> list[dict[str, Any]]:  # noqa: ARG002
        return []

    def close(self) -> None:
        pass


def words_only(question: str) -> Collection[str]:
    """A question without what a search engine reads as an operator."""
    return ["".join(letter for letter in word if letter.isalnum()) for word in question.split()]


def searched_texts(chunks: pa.Table) -> list[str]:
    """A chunk's text with the title and headings above it, which often hold the words that are asked for."""
    rows = chunks.select(["title", "heading_path", "text"]).to_pylist()
    return ["\n".join(dict.fromkeys((row["title"], *row["heading_path"], row["text"]))) for row in rows]
