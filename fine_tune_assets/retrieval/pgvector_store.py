"""Chunks in PostgreSQL with pgvector: a table an index, named by the index's fingerprint, made in one transaction.

Owns the table and the two queries, and saying what the database lacks.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.retrieval.stores import (
    COLUMNS,
    NAMED_COLUMNS,
    PGVECTOR,
    Floats,
    Hit,
    KnowledgeStoreError,
    OpenStore,
    Sees,
    known_ids,
    known_labels,
    searched_texts,
    words_only,
)

_PREFIX = "knowledge_"
_SEES = (
    "labels && CAST(:labels AS text[]) AND (valid_from IS NULL OR valid_from <= :day) "
    "AND (valid_to IS NULL OR valid_to >= :day) AND"
)
_NO_EXTENSION = (
    "The database of knowledge.url has no extension vector. Install pgvector beside the server (Debian: "
    "postgresql-17-pgvector, with your server's number), and let an administrator run CREATE EXTENSION vector there; or leave "
    "knowledge.url empty for LanceDB."
)


class PgvectorStore:
    name = PGVECTOR

    def __init__(self, url: str) -> None:
        try:
            parsed = sa.make_url(url)
        except sa.exc.ArgumentError:
            raise KnowledgeStoreError("knowledge.url can't be read. Write postgresql://USER@HOST/NAME.") from None
        if parsed.get_backend_name() != "postgresql":
            raise KnowledgeStoreError("knowledge.url must be a PostgreSQL database; empty means LanceDB.")
        # SQLAlchemy 2.1 would look for psycopg 3, which is not what is installed.
        self._engine = sa.create_engine(
            parsed.set(drivername="postgresql+psycopg2"), pool_pre_ping=True, hide_parameters=True
        )

    def build(self, fingerprint: str, chunks: pa.Table, vectors: Floats) -> None:
        name = _PREFIX + short(fingerprint)
        with _said(), self._engine.begin() as connection:
            _require_extension(connection)
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7305003)"))
            if _is_there(connection, name):
                return
            for statement in _made(name, vectors.shape[1] or 1):
                connection.execute(sa.text(statement))
            rows = list(_rows(chunks, vectors))
            if rows:
                connection.execute(sa.text(_inserted(name)), rows)

    def open(self, fingerprint: str) -> OpenStore:
        name = _PREFIX + short(fingerprint)
        with _said(), self._engine.connect() as connection:
            if not _is_there(connection, name):
                raise KnowledgeStoreError(f"There is no table {name}. {materialize_hint('knowledge_indexes')}")
        return _OpenTable(self._engine, name)

    def remove(self, fingerprint: str) -> None:
        with _said(), self._engine.begin() as connection:
            connection.execute(sa.text(f"DROP TABLE IF EXISTS {_PREFIX}{short(fingerprint)}"))

    def built(self) -> list[str]:
        with _said(), self._engine.connect() as connection:
            query = sa.text(
                "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename LIKE :like"
            )
            found = connection.execute(query, {"like": _PREFIX.replace("_", r"\_") + "_" * 16})
            return sorted(name.removeprefix(_PREFIX) for (name,) in found)


class _OpenTable:
    def __init__(self, engine: sa.Engine, name: str) -> None:
        self._engine, self._name = engine, name

    def nearest(self, vector: Floats, sees: Sees, limit: int) -> list[Hit]:
        return self._found("true", "embedding <=> CAST(:vector AS vector), chunk_id", vector, sees, limit, words="")

    def matching(self, question: str, vector: Floats, sees: Sees, limit: int) -> list[Hit]:
        words = " or ".join(word for word in words_only(question) if word)
        if not words:
            return []
        query = "websearch_to_tsquery('english', :words)"
        order = f"ts_rank_cd(searched, {query}, 1) DESC, chunk_id"
        return self._found(f"searched @@ {query}", order, vector, sees, limit, words=words)

    def _found(self, where: str, order: str, vector: Floats, sees: Sees, limit: int, words: str) -> list[Hit]:
        if not sees.sorted_labels:
            return []
        query = (
            f"SELECT {', '.join(COLUMNS)}, 1 - (embedding <=> CAST(:vector AS vector)) AS cosine FROM {self._name} "
            f"WHERE {_SEES} {where} ORDER BY {order} LIMIT :limit"
        )
        given = {
            "vector": _literal(vector),
            "labels": sees.sorted_labels,
            "day": sees.on.isoformat(),
            "limit": limit,
            "words": words,
        }
        with _said(), self._engine.connect() as connection:
            rows = connection.execute(sa.text(query), given).mappings().all()
        return [Hit({name: row[name] for name in COLUMNS}, float(row["cosine"])) for row in rows]

    def named(self, chunk_ids: Sequence[str], labels: Collection[str]) -> list[dict[str, Any]]:
        query = (
            f"SELECT {', '.join(NAMED_COLUMNS)} FROM {self._name} "
            "WHERE chunk_id = ANY(CAST(:ids AS text[])) AND labels && CAST(:labels AS text[])"
        )
        given = {"ids": known_ids(chunk_ids), "labels": known_labels(labels)}
        with _said(), self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.text(query), given).mappings()]

    def close(self) -> None:
        self._engine.dispose()


@contextmanager
def _said() -> Iterator[None]:
    """The database's own words may quote a row."""
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        raise KnowledgeStoreError(
            f"The database of knowledge.url refused it ({type(getattr(error, 'orig', None) or error).__name__}). Is it running, "
            "and may this user make tables there?"
        ) from None


def _require_extension(connection: sa.Connection) -> None:
    there = connection.execute(sa.text("SELECT 1 FROM pg_extension WHERE extname = 'vector'")).first()
    if there:
        return
    offered = connection.execute(sa.text("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'")).first()
    if not offered:
        raise KnowledgeStoreError(_NO_EXTENSION)
    try:
        with connection.begin_nested():
            connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS vector"))
    except sa.exc.SQLAlchemyError:
        raise KnowledgeStoreError(_NO_EXTENSION) from None


def _is_there(connection: sa.Connection, name: str) -> bool:
    return connection.execute(sa.text("SELECT to_regclass(:name)"), {"name": name}).scalar() is not None


def _made(name: str, width: int) -> list[str]:
    return [
        f"CREATE TABLE {name} (chunk_id text PRIMARY KEY, title text NOT NULL, source text NOT NULL, version text NOT NULL, "
        "heading_path text[] NOT NULL, text text NOT NULL, labels text[] NOT NULL, valid_from text, valid_to text, "
        f"searched tsvector NOT NULL, embedding vector({width}) NOT NULL)",
        f"CREATE INDEX ON {name} USING gin (searched)",
        f"CREATE INDEX ON {name} USING gin (labels)",
    ]


def _inserted(name: str) -> str:
    values = ", ".join(f":{column}" for column in (*COLUMNS, "labels", "valid_from", "valid_to"))
    return (
        f"INSERT INTO {name} ({', '.join(COLUMNS)}, labels, valid_from, valid_to, searched, embedding) VALUES ({values}, "
        "to_tsvector('english', :searched), CAST(:vector AS vector))"
    )


def _rows(chunks: pa.Table, vectors: Floats) -> Iterator[dict[str, Any]]:
    kept = chunks.select([*COLUMNS, "labels", "valid_from", "valid_to"]).to_pylist()
    for row, searched, vector in zip(kept, searched_texts(chunks), vectors, strict=True):
        yield {**row, "searched": searched.replace("\0", " "), "vector": _literal(vector)}


def _literal(vector: Floats) -> str:
    return json.dumps([float(one) for one in vector])
