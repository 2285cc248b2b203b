"""Stores chunks in PostgreSQL with pgvector: one table per index, named by its fingerprint, created in one transaction."""

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
    LOOKUP_COLUMNS,
    PGVECTOR,
    AccessFilter,
    Floats,
    Hit,
    KnowledgeStoreError,
    OpenStore,
    build_search_texts,
    filter_chunk_ids,
    filter_labels,
    strip_operators,
)

_PREFIX = "knowledge_"
_ACCESS_CLAUSE = (
    "labels && CAST(:labels AS text[]) AND (valid_from IS NULL OR valid_from <= :day) "
    "AND (valid_to IS NULL OR valid_to >= :day) AND"
)
_NO_EXTENSION = (
    "The database of knowledge.url lacks the extension vector. Install pgvector on its server (Debian: "
    "postgresql-17-pgvector, with your server's version), and let an administrator run CREATE EXTENSION vector; or leave "
    "knowledge.url empty to use LanceDB."
)


class PgvectorStore:
    name = PGVECTOR

    def __init__(self, url: str) -> None:
        try:
            parsed = sa.make_url(url)
        except sa.exc.ArgumentError:
            raise KnowledgeStoreError("knowledge.url is not a valid URL. Write postgresql://USER@HOST/NAME.") from None
        if parsed.get_backend_name() != "postgresql":
            raise KnowledgeStoreError("knowledge.url must be a PostgreSQL database, or empty to use LanceDB.")
        # SQLAlchemy 2.1 defaults to psycopg 3, which is not installed.
        self._engine = sa.create_engine(
            parsed.set(drivername="postgresql+psycopg2"), pool_pre_ping=True, hide_parameters=True
        )

    def build(self, fingerprint: str, chunks: pa.Table, vectors: Floats) -> None:
        name = _PREFIX + short(fingerprint)
        with _redact_errors(), self._engine.begin() as connection:
            _require_extension(connection)
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7305003)"))
            if _has_table(connection, name):
                return
            for statement in _create_statements(name, vectors.shape[1] or 1):
                connection.execute(sa.text(statement))
            rows = list(_rows(chunks, vectors))
            if rows:
                connection.execute(sa.text(_insert_statement(name)), rows)

    def open(self, fingerprint: str) -> OpenStore:
        name = _PREFIX + short(fingerprint)
        with _redact_errors(), self._engine.connect() as connection:
            if not _has_table(connection, name):
                raise KnowledgeStoreError(
                    f"The knowledge table {name} does not exist. {materialize_hint('knowledge_indexes')}"
                )
        return _OpenTable(self._engine, name)

    def remove(self, fingerprint: str) -> None:
        with _redact_errors(), self._engine.begin() as connection:
            connection.execute(sa.text(f"DROP TABLE IF EXISTS {_PREFIX}{short(fingerprint)}"))

    def list_indexes(self) -> list[str]:
        with _redact_errors(), self._engine.connect() as connection:
            query = sa.text(
                "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename LIKE :like"
            )
            tables = connection.execute(query, {"like": _PREFIX.replace("_", r"\_") + "_" * 16})
            return sorted(name.removeprefix(_PREFIX) for (name,) in tables)


class _OpenTable:
    def __init__(self, engine: sa.Engine, name: str) -> None:
        self._engine, self._name = engine, name

    def search_vectors(self, vector: Floats, access: AccessFilter, limit: int) -> list[Hit]:
        return self._search("true", "embedding <=> CAST(:vector AS vector), chunk_id", vector, access, limit, words="")

    def search_words(self, question: str, vector: Floats, access: AccessFilter, limit: int) -> list[Hit]:
        words = " or ".join(word for word in strip_operators(question) if word)
        if not words:
            return []
        query = "websearch_to_tsquery('english', :words)"
        order = f"ts_rank_cd(searched, {query}, 1) DESC, chunk_id"
        return self._search(f"searched @@ {query}", order, vector, access, limit, words=words)

    def _search(self, where: str, order: str, vector: Floats, sees: AccessFilter, limit: int, words: str) -> list[Hit]:
        if not sees.sorted_labels:
            return []
        query = (
            f"SELECT {', '.join(COLUMNS)}, 1 - (embedding <=> CAST(:vector AS vector)) AS cosine FROM {self._name} "
            f"WHERE {_ACCESS_CLAUSE} {where} ORDER BY {order} LIMIT :limit"
        )
        given = {
            "vector": _vector_literal(vector),
            "labels": sees.sorted_labels,
            "day": sees.day.isoformat(),
            "limit": limit,
            "words": words,
        }
        with _redact_errors(), self._engine.connect() as connection:
            rows = connection.execute(sa.text(query), given).mappings().all()
        return [Hit({name: row[name] for name in COLUMNS}, float(row["cosine"])) for row in rows]

    def find_chunks(self, chunk_ids: Sequence[str], labels: Collection[str]) -> list[dict[str, Any]]:
        query = (
            f"SELECT {', '.join(LOOKUP_COLUMNS)} FROM {self._name} "
            "WHERE chunk_id = ANY(CAST(:ids AS text[])) AND labels && CAST(:labels AS text[])"
        )
        given = {"ids": filter_chunk_ids(chunk_ids), "labels": filter_labels(labels)}
        with _redact_errors(), self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.text(query), given).mappings()]

    def close(self) -> None:
        self._engine.dispose()


@contextmanager
def _redact_errors() -> Iterator[None]:
    """Drop the database's own messages, which may quote a row."""
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        raise KnowledgeStoreError(
            f"The database of knowledge.url reported {type(getattr(error, 'orig', None) or error).__name__}. Check that it runs "
            "and that this user may create tables."
        ) from None


def _require_extension(connection: sa.Connection) -> None:
    installed = connection.execute(sa.text("SELECT 1 FROM pg_extension WHERE extname = 'vector'")).first()
    if installed:
        return
    offered = connection.execute(sa.text("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'")).first()
    if not offered:
        raise KnowledgeStoreError(_NO_EXTENSION)
    try:
        with connection.begin_nested():
            connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS vector"))
    except sa.exc.SQLAlchemyError:
        raise KnowledgeStoreError(_NO_EXTENSION) from None


def _has_table(connection: sa.Connection, name: str) -> bool:
    return connection.execute(sa.text("SELECT to_regclass(:name)"), {"name": name}).scalar() is not None


def _create_statements(name: str, width: int) -> list[str]:
    return [
        f"CREATE TABLE {name} (chunk_id text PRIMARY KEY, title text NOT NULL, source text NOT NULL, version text NOT NULL, "
        "heading_path text[] NOT NULL, text text NOT NULL, labels text[] NOT NULL, valid_from text, valid_to text, "
        f"searched tsvector NOT NULL, embedding vector({width}) NOT NULL)",
        f"CREATE INDEX ON {name} USING gin (searched)",
        f"CREATE INDEX ON {name} USING gin (labels)",
    ]


def _insert_statement(name: str) -> str:
    values = ", ".join(f":{column}" for column in (*COLUMNS, "labels", "valid_from", "valid_to"))
    return (
        f"INSERT INTO {name} ({', '.join(COLUMNS)}, labels, valid_from, valid_to, searched, embedding) VALUES ({values}, "
        "to_tsvector('english', :searched), CAST(:vector AS vector))"
    )


def _rows(chunks: pa.Table, vectors: Floats) -> Iterator[dict[str, Any]]:
    columns = chunks.select([*COLUMNS, "labels", "valid_from", "valid_to"]).to_pylist()
    for row, searched, vector in zip(columns, build_search_texts(chunks), vectors, strict=True):
        yield {**row, "searched": searched.replace("\0", " "), "vector": _vector_literal(vector)}


def _vector_literal(vector: Floats) -> str:
    return json.dumps([float(one) for one in vector])
