"""Opens the ledger in SQLite (WAL mode) or PostgreSQL and migrates it to the newest schema.

Both databases admit one writer at a time: SQLite through BEGIN IMMEDIATE, PostgreSQL through an advisory lock. This makes every
read-then-write sequence in the other ledger modules safe and keeps the audit log a single chain. Writes are small and rare, so
waits are short.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.keys import key_file, read_or_create_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.audit_head import advance_head
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.ledger_tables import metadata
from fine_tune_assets.ledger.seals import install_seals

AUDIT_HEAD = "audit_head"
"""In `Connection.info`: the newest entry that this transaction appended to the audit log."""
MIGRATIONS_DIR = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_MS = 30_000
"""Milliseconds that a writer waits for another writer before it fails."""
_WRITES, _DURABLE = "ledger_writes", "ledger_synced"
# Arbitrary numbers that no other program may use as advisory locks in the same PostgreSQL database.
_WRITER_LOCK = 7_305_001
_MIGRATION_LOCK = 7_305_002


@dataclass(frozen=True)
class Ledger:
    """An open ledger. Threads can share it."""

    engine: sa.Engine
    key: bytes = field(repr=False)
    """From which the seals of its rows are derived."""
    keys: Path
    """The folder with the key, and with the head of the audit log."""

    @contextmanager
    def begin(self, *, is_durable: bool = True) -> Iterator[sa.Connection]:
        """A write transaction: committed when the block ends, rolled back when it raises.

        With `is_durable` False, the commit survives a crash of any process at once, but a power cut (and, on PostgreSQL, a server
        crash) only after `sync` or the next durable transaction.
        """
        options = {_WRITES: True, _DURABLE: is_durable}
        with self.engine.connect().execution_options(**options) as connection, connection.begin():
            if self.engine.dialect.name == "postgresql":
                if not is_durable:
                    connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITER_LOCK)))
            connection.info.pop(AUDIT_HEAD, None)
            yield connection
            head = connection.info.pop(AUDIT_HEAD, None)
        if head is not None:
            advance_head(self.keys, head)

    def sync(self) -> None:
        """Flush every commit to disk. PostgreSQL does this on its own, within 0.6 s by default."""
        if self.engine.dialect.name != "sqlite":
            return
        with suppress(FileNotFoundError), open(f"{self.engine.url.database}-wal", "rb") as log:
            os.fsync(log.fileno())

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A read-only transaction; it never waits for a writer, and sees one state of the database."""
        options = {"isolation_level": "REPEATABLE READ"} if self.engine.dialect.name == "postgresql" else {}
        with self.engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    @cached_property
    def nonblocking_reader(self) -> "Ledger | None":
        """A reader that needs no worker thread: a dedicated SQLite connection that no writer can block. None on PostgreSQL.

        Use it from one thread only.
        """
        if self.engine.dialect.name != "sqlite":
            return None
        return _PersistentReader(_read_only_engine(self.engine.url, self.key), self.key, self.keys)

    def close(self) -> None:
        if (opened := self.__dict__.get("nonblocking_reader")) is not None:
            opened.close()
        self.engine.dispose()


def read_transaction(target: Ledger | sa.Connection) -> AbstractContextManager[sa.Connection]:
    """A new read transaction, or the caller's connection."""
    return target.read() if isinstance(target, Ledger) else nullcontext(target)


def write_transaction(target: Ledger | sa.Connection) -> AbstractContextManager[sa.Connection]:
    """A new write transaction, or the caller's connection."""
    return target.begin() if isinstance(target, Ledger) else nullcontext(target)


def select_fields(table: sa.Table, record: type[Any]) -> sa.Select[Any]:
    """A query for the columns that match the record's fields."""
    return sa.select(*(table.c[name] for name in record.__dataclass_fields__))


def page_newest_first(query: sa.Select[Any], order: sa.Column[int], before: int | None, limit: int) -> sa.Select[Any]:
    """One page of at most `limit` rows in descending order; with `before`, only rows below it."""
    page = query.order_by(order.desc()).limit(limit)
    return page if before is None else page.where(order < before)


def split_into_chunks(values: Iterable[str]) -> Iterator[list[str]]:
    """The sorted values in chunks of 500, because SQLite limits the number of values in a statement."""
    ordered = sorted(values)
    return (ordered[start : start + 500] for start in range(0, len(ordered), 500))


class _PersistentReader(Ledger):
    """Reads through one SQLite connection that stays open.

    A lookup by index takes 0.02 ms, against 0.09 ms with a pooled connection and SQLAlchemy's own transaction.
    """

    @contextmanager
    def begin(self, *, is_durable: bool = True) -> Iterator[sa.Connection]:  # noqa: ARG002
        raise LedgerError("This connection is read-only.")
        yield

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        connection = self._connection
        driver: Any = connection.connection.driver_connection
        try:
            driver.execute("BEGIN")
            try:
                yield connection
            finally:
                driver.rollback()
        except sqlite3.Error as error:
            self._close_connection()  # discard the connection; the next read opens a new one
            raise sa.exc.OperationalError("BEGIN", {}, error) from error
        except sa.exc.SQLAlchemyError:
            self._close_connection()
            raise

    @cached_property
    def _connection(self) -> sa.Connection:
        return self.engine.connect()

    def _close_connection(self) -> None:
        connection: sa.Connection | None = self.__dict__.pop("_connection", None)
        if connection is not None:
            connection.invalidate()
            connection.close()

    def close(self) -> None:
        self._close_connection()
        super().close()


def open_ledger(settings: Settings) -> Ledger:
    """Open this installation's ledger; create and migrate it if needed. Raises LedgerError as `open_database`, SettingsError."""
    return open_database(settings.database_url, settings.layout.keys)


def open_database(url: str, keys: Path) -> Ledger:
    """Open the ledger at a SQLAlchemy URL; create and migrate it if needed. `keys`: the folder with the key that seals its rows.

    Safe to call from several processes at once. Raises LedgerError if the database is of an unsupported kind, is unreachable, or
    has a schema from another version, and SettingsError if the key can't be used, or is missing although the ledger has rows.
    """
    parsed = _parse_url(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            return _open_sqlite(parsed, keys)
        return _open_postgresql(parsed, keys)
    except sa.exc.OperationalError as error:
        reason = type(error.orig).__name__
        where = parsed.render_as_string(hide_password=True)
        raise LedgerError(
            f"Cannot open the ledger at {where} ({reason}). Check that the database is running and that "
            "FINE_TUNE_LEDGER_URL is correct."
        ) from error


def _parse_url(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise LedgerError("Invalid ledger URL. Use sqlite:///PATH or postgresql://USER@HOST/NAME.") from error
    if parsed.drivername == "postgresql":
        # SQLAlchemy 2.1 defaults to psycopg 3; psycopg2 is installed.
        return parsed.set(drivername="postgresql+psycopg2")
    if parsed.drivername in {"sqlite", "sqlite+pysqlite"} and parsed.database not in {None, "", ":memory:"}:
        return parsed
    if parsed.drivername == "postgresql+psycopg2":
        return parsed
    raise LedgerError(f"The ledger does not support {parsed.drivername}. Use a SQLite file or postgresql+psycopg2.")


def _open_sqlite(url: sa.URL, keys: Path) -> Ledger:
    path = Path(str(url.database))
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT, 0o600))
    engine = _sqlite_engine(url)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _set_wal(engine)
        with engine.connect().execution_options(**{_WRITES: True, _DURABLE: True}) as connection, connection.begin():
            _migrate(connection)
            key = _find_key(connection, keys)
    install_seals(engine, key)
    return Ledger(engine, key, keys)


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, hide_parameters=True)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _read_only_engine(url: sa.URL, key: bytes) -> sa.Engine:
    """An engine without `_begin_sqlite`: `_PersistentReader` begins and ends SQLite's transactions itself."""
    engine = sa.create_engine(url, hide_parameters=True)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "connect", lambda connection, _record: connection.execute("PRAGMA query_only = ON"))
    install_seals(engine, key)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # stop the driver from opening transactions; _begin_sqlite does
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # an erased subject must leave nothing in the file's free pages


def _begin_sqlite(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if options.get(_WRITES, False):
        # A confirmed write must survive a power cut, so use FULL unless the caller opts out.
        connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if options[_DURABLE] else 'NORMAL'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("BEGIN")


def _set_wal(engine: sa.Engine) -> None:
    """Switch to WAL once, under the lock: the switch does not wait for other connections, and the file keeps the mode."""
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA journal_mode = WAL")
    finally:
        raw.close()


def _open_postgresql(url: sa.URL, keys: Path) -> Ledger:
    engine = sa.create_engine(url, pool_pre_ping=True, hide_parameters=True)
    with engine.connect() as connection, connection.begin():
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        _migrate(connection)
        key = _find_key(connection, keys)
    install_seals(engine, key)
    return Ledger(engine, key, keys)


def _find_key(connection: sa.Connection, keys: Path) -> bytes:
    """The ledger's key; creates it for a ledger without rows.

    With a new key, a second host or a restored database would add rows that no other process accepts.
    """
    path = key_file(keys, KEY_NAME)
    if not path.exists() and connection.execute(sa.text("SELECT 1 FROM audit_entries LIMIT 1")).first() is not None:
        raise SettingsError(
            f"The key file {path} is missing, but the ledger has rows that depend on it. Copy {path.name} from the host that "
            "created the ledger, or restore it from the backup."
        )
    return read_or_create_key(keys, KEY_NAME)


def _migrate(connection: sa.Connection) -> None:
    """Create the declared tables in an empty database, or run the migrations that a ledger of an earlier release lacks."""
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext

    revision = MigrationContext.configure(connection).get_current_revision()
    if revision == _revisions()[0]:
        return
    if revision is not None and revision not in _revisions():
        where = connection.engine.url.render_as_string(hide_password=True)
        raise LedgerError(
            f"The ledger at {where} has schema revision {revision}, which this version does not know. Use the "
            "version that wrote it, or set FINE_TUNE_LEDGER_URL to another database."
        )
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_DIR).replace("%", "%%"))
    config.attributes["connection"] = connection
    if revision is None:
        metadata.create_all(connection)
        command.stamp(config, "head")
    else:
        command.upgrade(config, "head")


@cache
def _revisions() -> tuple[str, ...]:
    """Schema revisions, newest first. Cached because a sensor opens the ledger several times a second."""
    from alembic.script import ScriptDirectory

    return tuple(script.revision for script in ScriptDirectory(str(MIGRATIONS_DIR)).walk_revisions())
