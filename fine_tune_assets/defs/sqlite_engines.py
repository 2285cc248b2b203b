"""Dagster's SQLite storage with one SQLAlchemy engine a file, not one a query.

Dagster 1.13.27 makes an engine for each connection to its SQLite files and throws it away (`SqliteEventLogStorage._connect`).
What an engine compiled goes with it, so that every statement of a tick is compiled anew. Owns engines that are kept, put in the
place of Dagster's in every process that loads the definitions. Connections are still opened and closed one by one.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from sqlalchemy import Engine, Pool, create_engine
from sqlalchemy.pool import NullPool

KEPT = 64
"""One for each run's file too, the newest."""


@lru_cache(maxsize=KEPT)
def _kept(url: str, arguments: tuple[tuple[str, Any], ...]) -> Engine:
    return create_engine(url, poolclass=NullPool, connect_args=dict(arguments))


def kept_engine(url: str, poolclass: type[Pool] = NullPool, connect_args: Mapping[str, Any] | None = None) -> Engine:
    """As the storages call it."""
    assert poolclass is NullPool
    return _kept(url, tuple((connect_args or {}).items()))


def keep_engines() -> None:
    for module in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
        module.create_engine = kept_engine  # type: ignore[attr-defined, assignment]
