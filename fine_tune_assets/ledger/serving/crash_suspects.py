"""Records the requests that an engine was answering when it stopped, by keyed hash, and decides which are refused.

A request is refused if an engine stopped while it answered only this request, or if two engines stopped while they answered it.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import crash_suspects as table

RETENTION_DAYS = 1
"""A request is refused for so long after an engine stopped."""


@dataclass(frozen=True)
class CrashSuspect:
    """The columns of `crash_suspects`."""

    deployment_id: str
    engine: str
    fingerprint: str
    caller: str
    at: datetime


def identify_engine(engine_url: str) -> str:
    """Each engine listens at a new address."""
    return fingerprint_text(engine_url)


def record_suspects(ledger: Ledger, suspects: Iterable[CrashSuspect]) -> None:
    """Store the suspects, and delete those older than RETENTION_DAYS."""
    rows = [vars(suspect) for suspect in suspects]
    if rows:
        with ledger.begin() as connection:
            expired = max(row["at"] for row in rows) - timedelta(days=RETENTION_DAYS)
            connection.execute(table.delete().where(table.c.at < expired))
            connection.execute(table.insert(), rows)


def list_suspects(ledger: Ledger, since: datetime, deployment_id: str | None = None) -> list[CrashSuspect]:
    """Oldest first."""
    condition = table.c.at >= since
    if deployment_id is not None:
        condition &= table.c.deployment_id == deployment_id
    columns = [table.c[name] for name in CrashSuspect.__dataclass_fields__]
    with ledger.read() as connection:
        rows = connection.execute(sa.select(*columns).where(condition).order_by(table.c.sequence))
        return [CrashSuspect(*row) for row in rows]


def list_refused(ledger: Ledger, now: datetime) -> frozenset[str]:
    """Fingerprints of requests that are refused."""
    return find_refused(list_suspects(ledger, now - timedelta(days=RETENTION_DAYS)))


def find_refused(suspects: Iterable[CrashSuspect]) -> frozenset[str]:
    by_engine: dict[str, set[str]] = defaultdict(set)
    for suspect in suspects:
        by_engine[suspect.engine].add(suspect.fingerprint)
    alone = {next(iter(found)) for found in by_engine.values() if len(found) == 1}
    engines = [fingerprint for found in by_engine.values() for fingerprint in found]
    return frozenset(alone | {each for each in engines if engines.count(each) > 1})


def is_explained_by_requests(suspects: Iterable[CrashSuspect]) -> bool:
    """Whether one request, or one caller, can be the cause of every stop. False without suspects."""
    requests: dict[str, set[str]] = defaultdict(set)
    callers: dict[str, set[str]] = defaultdict(set)
    for suspect in suspects:
        requests[suspect.engine].add(suspect.fingerprint)
        callers[suspect.engine].add(suspect.caller)
    return any(bool(set.intersection(*found.values())) for found in (requests, callers) if found)
