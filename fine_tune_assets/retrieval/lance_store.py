"""Stores chunks in an embedded LanceDB: one folder per index, named by its fingerprint, written to a temporary path and renamed.

Search compares all vectors, so it is exact; 10,000 take a few milliseconds. Lance files have random names, so the index is
named by its inputs, and `index.json` records the hash of each file.
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
from fine_tune_assets.core.files import atomic_folder, write_text
from fine_tune_assets.core.fingerprints import fingerprint_files, short
from fine_tune_assets.retrieval.stores import (
    COLUMNS,
    LANCEDB,
    LOOKUP_COLUMNS,
    AccessFilter,
    EmptyStore,
    Floats,
    Hit,
    KnowledgeStoreError,
    OpenStore,
    build_search_texts,
    filter_chunk_ids,
    filter_labels,
    strip_operators,
)

RECORD_FILE = "index.json"
_TABLE = "chunks"
_NAME = re.compile(r"[0-9a-f]{16}")
_STORED_COLUMNS = (*COLUMNS, "labels", "valid_from", "valid_to")


class LanceStore:
    name = LANCEDB

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def build(self, fingerprint: str, chunks: pa.Table, vectors: Floats) -> None:
        folder = self._folder_of(fingerprint)
        if _is_intact(folder, fingerprint):
            return
        with atomic_folder(folder) as aside:
            if chunks.num_rows:
                _write(aside, chunks, vectors)
            record = {"fingerprint": fingerprint, "chunks": chunks.num_rows, "files": fingerprint_files(aside)}
            write_text(aside / RECORD_FILE, json.dumps(record, indent=2, sort_keys=True))

    def open(self, fingerprint: str) -> OpenStore:
        folder = self._folder_of(fingerprint)
        if not _is_intact(folder, fingerprint):
            raise KnowledgeStoreError(
                f"The knowledge index {folder.name} is missing or was changed. {materialize_hint('knowledge_indexes')}"
            )
        return _OpenTable(folder) if _read_record(folder)["chunks"] else EmptyStore()

    def remove(self, fingerprint: str) -> None:
        shutil.rmtree(self._folder_of(fingerprint), ignore_errors=True)

    def list_indexes(self) -> list[str]:
        if not self._folder.is_dir():
            return []
        return sorted(path.name for path in self._folder.iterdir() if _NAME.fullmatch(path.name))

    def _folder_of(self, fingerprint: str) -> Path:
        return self._folder / short(fingerprint)


class _OpenTable:
    def __init__(self, folder: Path) -> None:
        self._table = _import_lancedb().connect(folder).open_table(_TABLE)

    def search_vectors(self, vector: Floats, access: AccessFilter, limit: int) -> list[Hit]:
        if not access.sorted_labels:
            return []
        # lancedb's builders have one static type, but a different class for each kind of search.
        query: Any = self._table.search(vector, query_type="vector")
        query = query.distance_type("cosine").where(_where(access), prefilter=True)
        rows = query.select([*COLUMNS, "_distance"]).limit(limit).to_list()
        return [_hit(row, 1.0 - float(row["_distance"])) for row in rows]

    def search_words(self, question: str, vector: Floats, access: AccessFilter, limit: int) -> list[Hit]:
        words = " ".join(strip_operators(question)).strip()
        if not access.sorted_labels or not words:
            return []
        query = self._table.search(words, query_type="fts").where(_where(access), prefilter=True)
        rows = query.select([*COLUMNS, "vector", "_score"]).limit(limit).to_arrow()
        if not rows.num_rows:
            return []
        # Not as Python numbers, which would take as long as the search.
        vectors = rows["vector"].combine_chunks().flatten().to_numpy().reshape(rows.num_rows, -1)
        return [
            _hit(row, float(cosine))
            for row, cosine in zip(rows.select(COLUMNS).to_pylist(), vectors @ vector, strict=True)
        ]

    def find_chunks(self, chunk_ids: Sequence[str], labels: Collection[str]) -> list[dict[str, Any]]:
        ids, holds = filter_chunk_ids(chunk_ids), filter_labels(labels)
        if not ids or not holds:
            return []
        where = f"chunk_id IN ({_quoted(ids)}) AND array_has_any(labels, [{_quoted(holds)}])"
        query: Any = self._table.search()
        return list(query.where(where).select(list(LOOKUP_COLUMNS)).limit(len(ids)).to_list())

    def close(self) -> None:
        pass


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _hit(row: dict[str, Any], cosine: float) -> Hit:
    return Hit({name: row[name] for name in COLUMNS}, cosine)


def _where(sees: AccessFilter) -> str:
    """Labels are validated words and the day is a date, so the query contains no caller text."""
    labels, day = _quoted(sees.sorted_labels), sees.day.isoformat()
    return (
        f"array_has_any(labels, [{labels}]) AND (valid_from IS NULL OR valid_from <= '{day}') "
        f"AND (valid_to IS NULL OR valid_to >= '{day}')"
    )


def _import_lancedb() -> Any:
    """Import lazily. Its warning about forks does not apply: our child processes exec another program."""
    import lancedb

    warnings.filterwarnings("ignore", "lancedb fork support is experimental", RuntimeWarning)
    return lancedb


def _write(folder: Path, chunks: pa.Table, vectors: Floats) -> None:
    from lancedb.index import FTS

    stored = chunks.select(_STORED_COLUMNS).append_column(
        "vector", pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    )
    stored = stored.append_column("searched", pa.array(build_search_texts(chunks)))
    table = _import_lancedb().connect(folder).create_table(_TABLE, stored)
    table.create_index(
        "searched", config=FTS(language="English", stem=True, remove_stop_words=True, ascii_folding=True)
    )


def _read_record(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / RECORD_FILE).read_text(encoding="utf-8")))


def _is_intact(folder: Path, fingerprint: str) -> bool:
    try:
        record = _read_record(folder)
        current = {name: value for name, value in fingerprint_files(folder).items() if name != RECORD_FILE}
        return bool(record["fingerprint"] == fingerprint and record["files"] == current)
    except (OSError, ValueError, KeyError, TypeError):
        return False
