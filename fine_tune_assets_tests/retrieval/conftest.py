"""Both stores. pgvector is tested if the tests' server has the extension, or on the database of FINE_TUNE_TEST_PGVECTOR_URL."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fine_tune_assets.retrieval.lance_store import LanceStore
from fine_tune_assets.retrieval.pgvector_store import PgvectorStore
from fine_tune_assets.retrieval.stores import KnowledgeStoreError, Store
from fine_tune_assets.tables.serving_rows import KnowledgeChunk
from fine_tune_assets_tests.postgres import PostgresServer
from fine_tune_assets_tests.system_programs import PGVECTOR, skip_without

PGVECTOR_URL = os.environ.get("FINE_TUNE_TEST_PGVECTOR_URL")


@pytest.fixture(params=["lancedb", "pgvector"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "lancedb":
        yield LanceStore(tmp_path / "indexes")
        return
    pgvector = PgvectorStore(pgvector_url(request))
    yield pgvector
    _empty(pgvector)


def pgvector_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty store; skips the test if no server has the extension."""
    url = PGVECTOR_URL
    if url is None:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.url(server.create_database())
    pgvector = PgvectorStore(url)
    try:
        pgvector.build("0" * 64, KnowledgeChunk.SCHEMA.empty_table(), np.zeros((0, 0), np.float32))
    except KnowledgeStoreError:
        skip_without(PGVECTOR)
    _empty(pgvector)
    return url


def _empty(store: Store) -> None:
    for name in store.list_indexes():
        store.remove(name)
