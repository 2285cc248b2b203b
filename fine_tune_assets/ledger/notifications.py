"""Who was told of what. Owns that a message goes out once on a channel, and that a server that is away is not asked for ever."""

from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import notifications as table

MOST_TRIES = 3


def may_try(ledger: Ledger, event: str, about: str, channel: str) -> bool:
    """Whether it was neither sent nor tried three times in vain."""
    here = (table.c.event == event) & (table.c.about == about) & (table.c.channel == channel)
    with ledger.read() as connection:
        errors = connection.execute(sa.select(table.c.error).where(here)).scalars().all()
    return len(errors) < MOST_TRIES and None not in errors


def record_attempt(ledger: Ledger, event: str, about: str, channel: str, error: str | None, now: datetime) -> None:
    """`error`: the kind of error, None if it was sent."""
    row = {"event": event, "about": about, "channel": channel, "error": error, "tried_at": now}
    with ledger.begin() as connection:
        connection.execute(table.insert().values(row))
