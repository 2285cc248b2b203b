"""Corrections to Dagster 1.13, put in place in every process that loads the definitions.

- A run that waits for a place in a pool looks 100,000 times a second, and holds a whole core beside the training that it waits
for:
  the in-process executor takes the least of the time to wait and 0
  (`InstanceConcurrencyContext.interval_to_next_pending_claim_check`). Here it sleeps until it may look again.
- An SQLAlchemy engine is made for each connection to an SQLite file (`SqliteEventLogStorage._connect`), so every statement of a
tick
  is compiled anew. Here one engine a file is kept; connections are still opened and closed one by one.
"""

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from sqlalchemy import Engine, Pool, create_engine
from sqlalchemy.pool import NullPool


def seconds_to_next_look(context: InstanceConcurrencyContext) -> float:
    """0 where nothing waits, or one that waits was not asked about yet."""
    waiting, times = context._pending_claims, context._pending_timeouts
    if not waiting or any(step not in times for step in waiting):
        return 0.0
    return max(0.0, min(times[step] for step in waiting) - time.time())


def sleep_while_waiting() -> None:
    InstanceConcurrencyContext.interval_to_next_pending_claim_check = seconds_to_next_look  # type: ignore[method-assign, assignment]


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
