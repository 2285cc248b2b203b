"""What people are notified of, and who was notified of what.

Owns that a message goes out once on a channel, and when a server that was away is asked again.
"""

from datetime import datetime, timedelta

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import deployments, verdicts
from fine_tune_assets.ledger.schema import notifications as table
from fine_tune_assets.ledger.serving.deployments import BY_HAND

FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(minutes=30)
"""After the first try in vain, doubled after each further one, and the most. A server that restarts is asked again soon; one
that is away for the night is asked some twenty times, and told within half an hour of its return."""
GIVEN_UP_AFTER = timedelta(days=1)
"""After the first try: by then somebody has looked, or nobody reads that channel."""
MOST_TRIES = 60
"""In a day there are 52: a clock that jumps ahead makes no more of them."""


def stopped_candidates(ledger: Ledger, since: datetime) -> list[tuple[str, str]]:
    """Decision (`hold`, `refuse`) and verdict id, in the order in which they were recorded."""
    query = sa.select(verdicts.c.decision, verdicts.c.verdict_id).where(
        verdicts.c.decision.in_(("hold", "refuse")), verdicts.c.recorded_at >= since
    )
    with ledger.read() as connection:
        return [(row.decision, row.verdict_id) for row in connection.execute(query.order_by(verdicts.c.sequence))]


def left_by_themselves(ledger: Ledger, since: datetime) -> list[str]:
    """Ids of the deployments that users were taken from without anybody's hand."""
    query = sa.select(deployments.c.deployment_id).where(
        deployments.c.rollback_reason != BY_HAND, deployments.c.changed_at >= since
    )
    with ledger.read() as connection:
        return list(connection.execute(query.order_by(deployments.c.sequence)).scalars())


def may_try(ledger: Ledger, event: str, about: str, channel: str, now: datetime) -> bool:
    """Whether it was not sent yet, and its next try is due."""
    here = (table.c.event == event) & (table.c.about == about) & (table.c.channel == channel)
    query = sa.select(table.c.error, table.c.tried_at).where(here).order_by(table.c.sequence)
    with ledger.read() as connection:
        tries = connection.execute(query).all()
    if not tries:
        return True
    if len(tries) >= MOST_TRIES or any(error is None for error, _ in tries):
        return False
    first, newest = tries[0].tried_at, tries[-1].tried_at
    return first + GIVEN_UP_AFTER > now >= newest + wait_after(len(tries))


def wait_after(tries: int) -> timedelta:
    """Before the next one.

    >>> [wait_after(tries).total_seconds() / 60 for tries in (1, 2, 6, 7, 60)]
    [0.5, 1.0, 16.0, 30.0, 30.0]
    """
    return min(FIRST_WAIT * 2 ** min(tries - 1, 20), LONGEST_WAIT)


def record_attempt(ledger: Ledger, event: str, about: str, channel: str, error: str | None, now: datetime) -> None:
    """`error`: the kind of error, None if it was sent."""
    row = {"event": event, "about": about, "channel": channel, "error": error, "tried_at": now}
    with ledger.begin() as connection:
        connection.execute(table.insert().values(row))
