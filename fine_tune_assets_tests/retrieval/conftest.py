"""Both stores. pgvector is tested where the tests' own server has it, or where FINE_TUNE_TEST_PGVECTOR_URL names a database that
does: on Debian, after installing postgresql-15-pgvector or the like."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fine_tune_assets.retrieval.lance_store import LanceStore
from fine_tune_assets.retrieval.pgvector_store import PgvectorStore
from fine_tune_assets.retrieval.stores import KnowledgeStoreError, Store
from fine_tune_assets.tables.serving import KnowledgeChunk
from fine_tune_assets_tests.postgres import PostgresServer

PGVECTOR_URL = os.environ.get("FINE_TUNE_TEST_PGVECTOR_URL")


@pytest.fixture(params=["lancedb", "pgvector"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "lancedb":
        yield LanceStore(tmp_path / "indexes")
        return
    found = PgvectorStore(pgvector_url(request))
    yield found
    _empty(found)


def pgvector_url(request: pytest.FixtureRequest) -> str:
    """Of an empty store; the test is skipped where no server has the extension."""
    url = PGVECTOR_URL
    if url is None:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.url(server.create_database())
    found = PgvectorStore(url)
    try:
        found.build("0" * 64, KnowledgeChunk.SCHEMA.empty_table(), np.zeros((0, 0), np.float32))
    except KnowledgeStoreError as error:
        pytest.skip(str(error))
    _empty(found)
    return url


def _empty(store: Store) -> None:
    for name in store.built():
        store.remove(name)
