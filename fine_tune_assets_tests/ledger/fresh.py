"""New ledgers, copied from one that was migrated once: the migrations take most of a short test's time."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
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


_EMPTY = """
DO $$
DECLARE name text; has_rows boolean;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
        EXECUTE format('SELECT EXISTS (SELECT 1 FROM %I)', name) INTO has_rows;
        IF has_rows THEN
            EXECUTE format('TRUNCATE %I RESTART IDENTITY CASCADE', name);
        END IF;
    END LOOP;
END $$
"""
_empty_databases: dict[PostgresServer, list[str]] = {}


@contextmanager
def fresh_database(server: PostgresServer) -> Iterator[str]:
    """The URL of a PostgreSQL database with the ledger's empty tables. It is emptied and used again: a new one is 300 files."""
    kept = _empty_databases.setdefault(server, [])
    name = kept.pop() if kept else server.create_database(_migrated_database(server))
    yield server.url(name)
    with closing(server.connect(name)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(_EMPTY)
    kept.append(name)


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
