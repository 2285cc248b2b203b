"""Builds, opens and prunes indexes of chunks: vectors, term statistics and the store.

An index's name is a fingerprint of its content and format.
"""

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.core.files import make_folder, write_text
from fine_tune_assets.core.fingerprints import combine, fingerprint_table, short
from fine_tune_assets.embeddings.encoder import mean_vectors
from fine_tune_assets.retrieval.search import Index
from fine_tune_assets.retrieval.stores import Floats, KnowledgeStoreError, Store, build_search_texts
from fine_tune_assets.retrieval.term_weights import TermStatistics, count_terms

EncodePassages = Callable[[Sequence[str]], tuple[Floats, NDArray[np.int32]]]
_WORDS_FOLDER = "words"


def create_store(folder: Path, url: str) -> Store:
    """`folder` contains this installation's indexes; `url` is a PostgreSQL database with pgvector, or empty for LanceDB."""
    if url:
        from fine_tune_assets.retrieval.pgvector_store import PgvectorStore

        return PgvectorStore(url)
    from fine_tune_assets.retrieval.lance_store import LanceStore

    return LanceStore(folder)


def index_fingerprint(chunks: pa.Table, format_fingerprint: str, store: str) -> str:
    """The same documents, read and indexed in the same way, have the same fingerprint on every machine."""
    return combine([format_fingerprint, store, fingerprint_table(chunks)])


def build_index(folder: Path, store: Store, fingerprint: str, chunks: pa.Table, encode: EncodePassages) -> None:
    """Build the index unless an intact one exists."""
    texts = build_search_texts(chunks)
    store.build(fingerprint, chunks, mean_vectors(*encode(texts)))
    rarity = count_terms(texts)
    content = {"chunks": rarity.chunks, "counts": dict(sorted(rarity.counts.items()))}
    make_folder(folder / _WORDS_FOLDER)
    write_text(_words_path(folder, fingerprint), json.dumps(content, ensure_ascii=False))


def open_index(folder: Path, store: Store, fingerprint: str, encode: Callable[[Sequence[str]], Floats]) -> Index:
    """Raises KnowledgeStoreError."""
    return Index(fingerprint, store.open(fingerprint), _read_term_statistics(folder, fingerprint), encode)


def require_index(folder: Path, store: Store, fingerprint: str) -> None:
    """Raise KnowledgeStoreError unless the index is complete."""
    _read_term_statistics(folder, fingerprint)
    store.open(fingerprint).close()


def _read_term_statistics(folder: Path, fingerprint: str) -> TermStatistics:
    try:
        stored = json.loads(_words_path(folder, fingerprint).read_text(encoding="utf-8"))
        return TermStatistics(int(stored["chunks"]), dict(stored["counts"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KnowledgeStoreError(
            f"The knowledge index {short(fingerprint)} lacks its term statistics. {materialize_hint('knowledge_indexes')}"
        ) from error


def remove_index(folder: Path, store: Store, name: str) -> None:
    """`name`: full or shortened fingerprint."""
    store.remove(short(name))
    _words_path(folder, name).unlink(missing_ok=True)


def prune_indexes(folder: Path, store: Store, kept: Collection[str]) -> list[str]:
    """Remove every other index; return their shortened fingerprints."""
    names = {short(fingerprint) for fingerprint in kept}
    obsolete = [name for name in store.list_indexes() if name not in names]
    for name in obsolete:
        remove_index(folder, store, name)
    for file in (folder / _WORDS_FOLDER).glob("*.json"):
        if file.stem not in names:
            file.unlink(missing_ok=True)
    return obsolete


def _words_path(folder: Path, fingerprint: str) -> Path:
    return folder / _WORDS_FOLDER / f"{short(fingerprint)}.json"
