"""Lists events to notify people about and records delivery attempts, so that each message is sent once per channel."""

from datetime import datetime, timedelta

import sqlalchemy as sa

from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import audit_entries, deployments, verdicts
from fine_tune_assets.ledger.ledger_tables import notifications as table
from fine_tune_assets.ledger.seals import find_broken_seals
from fine_tune_assets.ledger.serving.deployments import CHANGED_RELEASE, MANUAL

FIRST_RETRY_DELAY, MAX_RETRY_DELAY = timedelta(seconds=30), timedelta(minutes=30)
"""Delay after the first failed attempt, doubled after each further one, and its maximum.

A server that restarts gets the message soon; one that is down overnight sees about twenty attempts, and gets the message within
half an hour of its return.
"""
RETRY_WINDOW = timedelta(days=1)
"""Time after the first attempt when retries stop: by then people have noticed, or the channel is unused."""
MAX_ATTEMPTS = 60
"""A day of retries makes 52 attempts; this limit also holds if the clock jumps ahead."""


def list_stopped_candidates(ledger: Ledger, since: datetime) -> list[tuple[str, str]]:
    """Decision (`hold` or `refuse`) and verdict id, in order of recording."""
    query = sa.select(verdicts.c.decision, verdicts.c.verdict_id).where(
        verdicts.c.decision.in_(("hold", "refuse")), verdicts.c.recorded_at >= since
    )
    with ledger.read() as connection:
        return [(row.decision, row.verdict_id) for row in connection.execute(query.order_by(verdicts.c.sequence))]


def automatic_rollbacks(ledger: Ledger, since: datetime) -> list[str]:
    """Ids of deployments that were rolled back automatically."""
    query = sa.select(deployments.c.deployment_id).where(
        deployments.c.rollback_reason != MANUAL, deployments.c.changed_at >= since
    )
    with ledger.read() as connection:
        return list(connection.execute(query.order_by(deployments.c.sequence)).scalars())


def list_changed_releases(ledger: Ledger, since: datetime) -> list[str]:
    """What the supervisor took out because its files were changed, oldest first."""
    is_change = (audit_entries.c.action == CHANGED_RELEASE) & (audit_entries.c.at >= since)
    with ledger.read() as connection:
        return [entry.resource for entry in audit.iterate_authentic(connection, is_change)][::-1]


def list_tampering(ledger: Ledger) -> list[str]:
    """Rows that were added or changed from outside, and whether the audit log was. Reads every sealed row and every entry."""
    with ledger.read() as connection:
        found = [f"{broken.table} {broken.row}" for broken in find_broken_seals(connection)]
    check = audit.verify_entries(ledger)
    return found if check.is_intact else [*found, f"audit log: {check.reason}"]


def is_attempt_due(ledger: Ledger, event: str, resource: str, channel: str, now: datetime) -> bool:
    """Whether the message was not sent yet and its next attempt is due."""
    is_message = (table.c.event == event) & (table.c.resource == resource) & (table.c.channel == channel)
    query = sa.select(table.c.error, table.c.attempted_at).where(is_message).order_by(table.c.sequence)
    with ledger.read() as connection:
        attempts = connection.execute(query).all()
    if not attempts:
        return True
    if len(attempts) >= MAX_ATTEMPTS or any(error is None for error, _ in attempts):
        return False
    first, newest = attempts[0].attempted_at, attempts[-1].attempted_at
    return first + RETRY_WINDOW > now >= newest + retry_delay(len(attempts))


def retry_delay(attempts: int) -> timedelta:
    """Delay after the given number of attempts.

    >>> [retry_delay(attempts).total_seconds() / 60 for attempts in (1, 2, 6, 7, 60)]
    [0.5, 1.0, 16.0, 30.0, 30.0]
    """
    return min(FIRST_RETRY_DELAY * 2 ** min(attempts - 1, 20), MAX_RETRY_DELAY)


def record_attempt(ledger: Ledger, event: str, resource: str, channel: str, error: str | None, now: datetime) -> None:
    """Record an attempt; `error` is the kind of error, None if the message was sent."""
    row = {"event": event, "resource": resource, "channel": channel, "error": error, "attempted_at": now}
    with ledger.begin() as connection:
        connection.execute(table.insert().values(row))
