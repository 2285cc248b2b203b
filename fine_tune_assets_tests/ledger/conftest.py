"""Every ledger test runs on SQLite and on a real PostgreSQL server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fine_tune_assets.ledger.database import Ledger, open_database
from fine_tune_assets_tests.ledger.new_ledgers import fresh_database, fresh_ledger, keys_of
from fine_tune_assets_tests.postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """The kind of database that the test runs on."""
    return str(request.param)


@pytest.fixture
def empty_url(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database without tables, or of a file that does not exist yet."""
    if database == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger' / 'ledger.db'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.url(server.create_database())


@pytest.fixture
def ledger_url(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a new ledger."""
    if database == "sqlite":
        url = f"sqlite:///{tmp_path / 'ledger' / 'ledger.db'}"
        fresh_ledger(url).close()
        yield url
        return
    with fresh_database(request.getfixturevalue("postgres_server")) as url:
        yield url


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    opened = open_database(ledger_url, keys_of(ledger_url))
    yield opened
    opened.close()
