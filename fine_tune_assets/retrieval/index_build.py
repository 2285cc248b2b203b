"""Makes an index of chunks: vectors, the words' rarity and the store, under a name that follows from the content alone.

Owns which store holds it, what an index's fingerprint is made of, opening one again, and which ones are kept.
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
from fine_tune_assets.embeddings.encoder import means_of
from fine_tune_assets.retrieval.search import Index
from fine_tune_assets.retrieval.stores import Floats, KnowledgeStoreError, Store, searched_texts
from fine_tune_assets.retrieval.words import Rarity, rarity_of

EncodePassages = Callable[[Sequence[str]], tuple[Floats, NDArray[np.int32]]]
_WORDS = "words"


def store_of(folder: Path, url: str) -> Store:
    """`folder`: of this installation's indexes; `url`: of a PostgreSQL database with pgvector, empty for LanceDB."""
    if url:
        from fine_tune_assets.retrieval.pgvector_store import PgvectorStore

        return PgvectorStore(url)
    from fine_tune_assets.retrieval.lance_store import LanceStore

    return LanceStore(folder)


def index_fingerprint(chunks: pa.Table, format_fingerprint: str, store: str) -> str:
    """The same documents, read and indexed in the same way, have the same index on every machine."""
    return combine([format_fingerprint, store, fingerprint_table(chunks)])


def build_index(folder: Path, store: Store, fingerprint: str, chunks: pa.Table, encode: EncodePassages) -> None:
    """Keeps one that is there and sound."""
    texts = searched_texts(chunks)
    store.build(fingerprint, chunks, means_of(*encode(texts)))
    rarity = rarity_of(texts)
    content = {"chunks": rarity.chunks, "counts": dict(sorted(rarity.counts.items()))}
    make_folder(folder / _WORDS)
    write_text(_words_file(folder, fingerprint), json.dumps(content, ensure_ascii=False))


def open_index(folder: Path, store: Store, fingerprint: str, encode: Callable[[Sequence[str]], Floats]) -> Index:
    """Raises KnowledgeStoreError."""
    return Index(fingerprint, store.open(fingerprint), _rarity(folder, fingerprint), encode)


def require_index(folder: Path, store: Store, fingerprint: str) -> None:
    """Raise KnowledgeStoreError unless it is whole."""
    _rarity(folder, fingerprint)
    store.open(fingerprint).close()


def _rarity(folder: Path, fingerprint: str) -> Rarity:
    try:
        said = json.loads(_words_file(folder, fingerprint).read_text(encoding="utf-8"))
        return Rarity(int(said["chunks"]), dict(said["counts"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KnowledgeStoreError(
            f"The knowledge index {short(fingerprint)} lacks its list of words. {materialize_hint('knowledge_indexes')}"
        ) from error


def remove_index(folder: Path, store: Store, name: str) -> None:
    """`name`: its fingerprint, whole or shortened."""
    store.remove(short(name))
    _words_file(folder, name).unlink(missing_ok=True)


def prune_indexes(folder: Path, store: Store, kept: Collection[str]) -> list[str]:
    """Remove every index but those; the names of what went, shortened."""
    names = {short(fingerprint) for fingerprint in kept}
    gone = [name for name in store.built() if name not in names]
    for name in gone:
        remove_index(folder, store, name)
    for file in (folder / _WORDS).glob("*.json"):
        if file.stem not in names:
            file.unlink(missing_ok=True)
    return gone


def _words_file(folder: Path, fingerprint: str) -> Path:
    return folder / _WORDS / f"{short(fingerprint)}.json"
