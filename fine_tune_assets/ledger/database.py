"""Opens the ledger: SQLite in WAL mode or PostgreSQL, brought to the newest schema first.

Owns connections, transactions and migrations. One writer at a time on both databases: on SQLite by BEGIN IMMEDIATE, on
PostgreSQL by an advisory lock. That keeps every "look, then write" of the modules beside this one safe, and the audit
log one chain. What is written is small and rare, so nobody waits long.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.ledger.errors import LedgerError

MIGRATIONS_DIR = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_MS = 30_000
"""How long a writer waits for another one before it gives up."""
_WRITES, _SYNCED = "ledger_writes", "ledger_synced"
# Any two numbers that nothing else in the same PostgreSQL database uses.
_WRITER_LOCK = 7_305_001
_MIGRATION_LOCK = 7_305_002


@dataclass(frozen=True)
class Ledger:
    """An open ledger. Safe to share between threads."""

    engine: sa.Engine

    @contextmanager
    def begin(self, *, is_synced: bool = True) -> Iterator[sa.Connection]:
        """A transaction that writes; committed when the block ends, rolled back when it raises.

        `is_synced` False: it survives the end of every process at once, but a power cut (with PostgreSQL also a crash of the
        server) only after `sync` or the next synced transaction.
        """
        options = {_WRITES: True, _SYNCED: is_synced}
        with self.engine.connect().execution_options(**options) as connection, connection.begin():
            if self.engine.dialect.name == "postgresql":
                if not is_synced:
                    connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITER_LOCK)))
            yield connection

    def sync(self) -> None:
        """Bring all that was committed onto the disk. PostgreSQL does so by itself, within .6 s as it is shipped."""
        if self.engine.dialect.name != "sqlite":
            return
        with suppress(FileNotFoundError), open(f"{self.engine.url.database}-wal", "rb") as log:
            os.fsync(log.fileno())

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that only reads; never waits for a writer."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @cached_property
    def without_waiting(self) -> "Ledger | None":
        """For reads that take no thread: a connection of its own, which no writer can hold. None where a server is asked. Used by
        one thread."""
        return _KeptOpen(_reading_engine(self.engine.url)) if self.engine.dialect.name == "sqlite" else None

    def close(self) -> None:
        if (opened := self.__dict__.get("without_waiting")) is not None:
            opened.close()
        self.engine.dispose()


def reading(target: Ledger | sa.Connection) -> AbstractContextManager[sa.Connection]:
    """A new transaction that only reads, or the caller's own."""
    return target.read() if isinstance(target, Ledger) else nullcontext(target)


def writing(target: Ledger | sa.Connection) -> AbstractContextManager[sa.Connection]:
    """A new transaction that writes, or the caller's own."""
    return target.begin() if isinstance(target, Ledger) else nullcontext(target)


def select_fields(table: sa.Table, record: type[Any]) -> sa.Select[Any]:
    """A query of the columns that a record has fields for."""
    return sa.select(*(table.c[name] for name in record.__dataclass_fields__))


def newest_first(query: sa.Select[Any], order: sa.Column[int], before: int | None, limit: int) -> sa.Select[Any]:
    """One page: at most `limit` rows in falling order; only those below `before`, if it is given."""
    page = query.order_by(order.desc()).limit(limit)
    return page if before is None else page.where(order < before)


def in_parts(values: Iterable[str]) -> Iterator[list[str]]:
    """The values in order, 500 at a time: SQLite takes a limited number of values in one statement."""
    ordered = sorted(values)
    return (ordered[start : start + 500] for start in range(0, len(ordered), 500))


class _KeptOpen(Ledger):
    """Reads of one SQLite connection that stays open: a row by its index takes .02 ms, and .09 with a connection from a pool and
    SQLAlchemy's own transaction."""

    @contextmanager
    def begin(self, *, is_synced: bool = True) -> Iterator[sa.Connection]:  # noqa: ARG002
        raise LedgerError("This connection only reads.")
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
            self._close_connection()  # whatever is wrong with it: the next read has another one
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


def open_ledger(url: str) -> Ledger:
    """Open the ledger at a SQLAlchemy URL, creating and migrating it when needed.

    Several processes may do so at once. Raises LedgerError for another kind of database, one that can't be reached, or one whose
    schema another version made.
    """
    parsed = _parse(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            return _open_sqlite(parsed)
        return _open_postgresql(parsed)
    except sa.exc.OperationalError as error:
        reason = type(error.orig).__name__
        where = parsed.render_as_string(hide_password=True)
        raise LedgerError(
            f"The ledger at {where} can't be opened ({reason}). Is it running, and the URL right?"
        ) from error


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise LedgerError(
            "The ledger URL can't be read. Write sqlite:///PATH or postgresql://USER@HOST/NAME."
        ) from error
    if parsed.drivername == "postgresql":
        # SQLAlchemy 2.1 would look for psycopg 3, which is not what is installed.
        return parsed.set(drivername="postgresql+psycopg2")
    if parsed.drivername in {"sqlite", "sqlite+pysqlite"} and parsed.database not in {None, "", ":memory:"}:
        return parsed
    if parsed.drivername == "postgresql+psycopg2":
        return parsed
    raise LedgerError(f"The ledger can't be kept in {parsed.drivername}. Use a SQLite file or postgresql+psycopg2.")


def _open_sqlite(url: sa.URL) -> Ledger:
    path = Path(str(url.database))
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT, 0o600))
    engine = _sqlite_engine(url)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _set_wal(engine)
        with Ledger(engine).begin() as connection:
            _migrate(connection)
    return Ledger(engine)


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, hide_parameters=True)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _reading_engine(url: sa.URL) -> sa.Engine:
    """Without `_begin_sqlite`: SQLAlchemy's transaction is never ended, SQLite's are begun and ended by `_KeptOpen`."""
    engine = sa.create_engine(url, hide_parameters=True)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "connect", lambda connection, _record: connection.execute("PRAGMA query_only = ON"))
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins no transactions by itself: _begin_sqlite does
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # of an erased patient nothing may stay in the file's free pages


def _begin_sqlite(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if options.get(_WRITES, False):
        # What was answered with "kept" survives a power cut: FULL, unless the caller said otherwise.
        connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if options[_SYNCED] else 'NORMAL'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("BEGIN")


def _set_wal(engine: sa.Engine) -> None:
    """Done once under the lock: switching the mode does not wait for others, and the file remembers it."""
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA journal_mode = WAL")
    finally:
        raw.close()


def _open_postgresql(url: sa.URL) -> Ledger:
    engine = sa.create_engine(url, pool_pre_ping=True, hide_parameters=True)
    with engine.connect() as connection, connection.begin():
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        _migrate(connection)
    return Ledger(engine)


def _migrate(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext

    revision = MigrationContext.configure(connection).get_current_revision()
    if revision == _revisions()[0]:
        return
    if revision is not None and revision not in _revisions():
        where = connection.engine.url.render_as_string(hide_password=True)
        raise LedgerError(
            f"The ledger at {where} has schema revision {revision}, which this version does not know. Use the version that wrote "
            "it, or name another database in FINE_TUNE_LEDGER_URL."
        )
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_DIR).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@cache
def _revisions() -> tuple[str, ...]:
    """The newest first. Read once for each process: a sensor opens the ledger several times a second."""
    from alembic.script import ScriptDirectory

    return tuple(script.revision for script in ScriptDirectory(str(MIGRATIONS_DIR)).walk_revisions())
