"""New ledgers, copied from one migrated template, because migrations take most of a short test's time."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.audit_head import HEAD_FILE
from fine_tune_assets.ledger.database import Ledger, open_database
from fine_tune_assets_tests.postgres import PostgresServer


def fresh_ledger(where: Settings | str) -> Ledger:
    """Open an installation's ledger, or the one at a URL; a SQLite file that does not exist is created as a copy."""
    url, keys = (where, keys_of(where)) if isinstance(where, str) else (where.database_url, where.layout.keys)
    parsed = sa.make_url(url)
    path = Path(str(parsed.database))
    if parsed.get_backend_name() == "sqlite" and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
            file.write(_migrated_file())
    return open_database(url, keys)


def keys_of(url: str) -> Path:
    """The keys folder of an installation whose ledger has this URL; for a server, one of this process."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return Path(tempfile.gettempdir()) / f"fine-tune-test-keys-{os.getpid()}" / str(parsed.database)
    folder = Path(str(parsed.database)).parent
    return (folder.parent if folder.name == "ledger" else folder) / "keys"


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
    """The URL of a PostgreSQL database with empty ledger tables. Databases are truncated and reused: a new one is 300 files."""
    pool = _empty_databases.setdefault(server, [])
    name = pool.pop() if pool else server.create_database(_migrated_database(server))
    (keys_of(server.url(name)) / HEAD_FILE).unlink(missing_ok=True)
    yield server.url(name)
    with closing(server.connect(name)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(_EMPTY)
    pool.append(name)


@cache
def _migrated_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        open_database(f"sqlite:///{path}", Path(folder)).close()
        assert not path.with_name("ledger.db-wal").exists()
        return path.read_bytes()


@cache
def _migrated_database(server: PostgresServer) -> str:
    name = server.create_database()
    url = server.url(name)
    open_database(url, keys_of(url)).close()
    return name
