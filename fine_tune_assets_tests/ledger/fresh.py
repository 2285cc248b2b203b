"""New ledgers, copied from one that was migrated once: the migrations take most of a short test's time."""

import os
import tempfile
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets_tests.postgres import PostgresServer


def fresh_ledger(url: str) -> Ledger:
    """Open the ledger at a URL; a SQLite file that does not exist is created as a copy."""
    parsed = sa.make_url(url)
    path = Path(str(parsed.database))
    if parsed.get_backend_name() == "sqlite" and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
            file.write(_migrated_file())
    return open_ledger(url)


def fresh_database(server: PostgresServer) -> str:
    """The URL of a new PostgreSQL database with the ledger's tables."""
    return server.url(server.create_database(_migrated_database(server)))


@cache
def _migrated_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        open_ledger(f"sqlite:///{path}").close()
        assert not path.with_name("ledger.db-wal").exists()
        return path.read_bytes()


@cache
def _migrated_database(server: PostgresServer) -> str:
    name = server.create_database()
    open_ledger(server.url(name)).close()
    return name
