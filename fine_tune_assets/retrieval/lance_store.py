"""Chunks in LanceDB, embedded: a folder an index, named by the index's fingerprint, written aside and renamed.

Owns the folder's layout and the two queries. Vectors are compared one by one, so that a search finds what is nearest for sure:
10,000 take some milliseconds. The folder's own files hold random names, so the index is named by what it was made from, and
`index.json` holds the hash of each file.
"""

import json
import re
import shutil
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.core.files import folder_written_aside, write_text
from fine_tune_assets.core.fingerprints import fingerprint_files, short
from fine_tune_assets.retrieval.stores import (
    COLUMNS,
    LANCEDB,
    NAMED_COLUMNS,
    Floats,
    Hit,
    KnowledgeStoreError,
    NoChunks,
    OpenStore,
    Sees,
    known_ids,
    known_labels,
    searched_texts,
    words_only,
)

RECORD = "index.json"
_TABLE = "chunks"
_NAME = re.compile(r"[0-9a-f]{16}")
_KEPT = (*COLUMNS, "labels", "valid_from", "valid_to")


class LanceStore:
    name = LANCEDB

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def build(self, fingerprint: str, chunks: pa.Table, vectors: Floats) -> None:
        folder = self._of(fingerprint)
        if _is_sound(folder, fingerprint):
            return
        with folder_written_aside(folder) as aside:
            if chunks.num_rows:
                _write(aside, chunks, vectors)
            record = {"fingerprint": fingerprint, "chunks": chunks.num_rows, "files": fingerprint_files(aside)}
            write_text(aside / RECORD, json.dumps(record, indent=2, sort_keys=True))

    def open(self, fingerprint: str) -> OpenStore:
        folder = self._of(fingerprint)
        if not _is_sound(folder, fingerprint):
            raise KnowledgeStoreError(
                f"The knowledge index {folder.name} is missing or was changed. {materialize_hint('knowledge_indexes')}"
            )
        return _OpenTable(folder) if _record(folder)["chunks"] else NoChunks()

    def remove(self, fingerprint: str) -> None:
        shutil.rmtree(self._of(fingerprint), ignore_errors=True)

    def built(self) -> list[str]:
        if not self._folder.is_dir():
            return []
        return sorted(path.name for path in self._folder.iterdir() if _NAME.fullmatch(path.name))

    def _of(self, fingerprint: str) -> Path:
        return self._folder / short(fingerprint)


class _OpenTable:
    def __init__(self, folder: Path) -> None:
        self._table = _lancedb().connect(folder).open_table(_TABLE)

    def nearest(self, vector: Floats, sees: Sees, limit: int) -> list[Hit]:
        if not sees.sorted_labels:
            return []
        # Its builders are one class by their types, and another one for each kind of search.
        query: Any = self._table.search(vector, query_type="vector")
        query = query.distance_type("cosine").where(_where(sees), prefilter=True)
        rows = query.select([*COLUMNS, "_distance"]).limit(limit).to_list()
        return [_hit(row, 1.0 - float(row["_distance"])) for row in rows]

    def matching(self, question: str, vector: Floats, sees: Sees, limit: int) -> list[Hit]:
        words = " ".join(words_only(question)).strip()
        if not sees.sorted_labels or not words:
            return []
        query = self._table.search(words, query_type="fts").where(_where(sees), prefilter=True)
        found = query.select([*COLUMNS, "vector", "_score"]).limit(limit).to_arrow()
        if not found.num_rows:
            return []
        # Not as Python's numbers: that took as long as the search.
        vectors = found["vector"].combine_chunks().flatten().to_numpy().reshape(found.num_rows, -1)
        return [
            _hit(row, float(cosine))
            for row, cosine in zip(found.select(COLUMNS).to_pylist(), vectors @ vector, strict=True)
        ]

    def named(self, chunk_ids: Sequence[str], labels: Collection[str]) -> list[dict[str, Any]]:
        ids, holds = known_ids(chunk_ids), known_labels(labels)
        if not ids or not holds:
            return []
        where = f"chunk_id IN ({_quoted(ids)}) AND array_has_any(labels, [{_quoted(holds)}])"
        query: Any = self._table.search()
        return list(query.where(where).select(list(NAMED_COLUMNS)).limit(len(ids)).to_list())

    def close(self) -> None:
        pass


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _hit(row: dict[str, Any], cosine: float) -> Hit:
    return Hit({name: row[name] for name in COLUMNS}, cosine)


def _where(sees: Sees) -> str:
    """Labels are words in small letters, and the day is a day: nothing in here is the caller's own text."""
    labels, day = _quoted(sees.sorted_labels), sees.on.isoformat()
    return (
        f"array_has_any(labels, [{labels}]) AND (valid_from IS NULL OR valid_from <= '{day}') "
        f"AND (valid_to IS NULL OR valid_to >= '{day}')"
    )


def _lancedb() -> Any:
    """The library, imported late. Its warning about forks concerns children that use it: ours execute another program."""
    import lancedb

    warnings.filterwarnings("ignore", "lancedb fork support is experimental", RuntimeWarning)
    return lancedb


def _write(folder: Path, chunks: pa.Table, vectors: Floats) -> None:
    from lancedb.index import FTS

    kept = chunks.select(_KEPT).append_column(
        "vector", pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    )
    kept = kept.append_column("searched", pa.array(searched_texts(chunks)))
    table = _lancedb().connect(folder).create_table(_TABLE, kept)
    table.create_index(
        "searched", config=FTS(language="English", stem=True, remove_stop_words=True, ascii_folding=True)
    )


def _record(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / RECORD).read_text(encoding="utf-8")))


def _is_sound(folder: Path, fingerprint: str) -> bool:
    try:
        record = _record(folder)
        found = {name: value for name, value in fingerprint_files(folder).items() if name != RECORD}
        return bool(record["fingerprint"] == fingerprint and record["files"] == found)
    except (OSError, ValueError, KeyError, TypeError):
        return False
