"""What callers of the gateway send is kept once, and not more of it a day than one author may send.

Owns the idempotency key, the daily limit and that there is such a release. Used inside a transaction of the caller's.
"""

from datetime import datetime, timedelta

import sqlalchemy as sa

from fine_tune_assets.core.error_kinds import KINDS_OF_CORRECTION, SEVERITIES
from fine_tune_assets.ledger.errors import IdempotencyError, LedgerError, TooManyError, UnknownRecordError
from fine_tune_assets.ledger.schema import releases

LIMIT_HOURS = 24


def id_kept(
    connection: sa.Connection, ids: sa.Column[str], author: str, idempotency_key: str, content_hash: str
) -> str | None:
    """The id under which the same request was kept before. Raises IdempotencyError if it came with another content."""
    table = ids.table
    query = sa.select(ids, table.c.content_hash).where(
        table.c.author == author, table.c.idempotency_key == idempotency_key
    )
    known = connection.execute(query).first()
    if known is None:
        return None
    if known.content_hash != content_hash:
        raise IdempotencyError(
            f"{known[0]} was sent with this idempotency key and another content. Send a new key with new content."
        )
    return str(known[0])


def require_release(connection: sa.Connection, release_id: str) -> None:
    if not connection.execute(sa.select(releases.c.release_id).where(releases.c.release_id == release_id)).first():
        raise UnknownRecordError(f"There is no release {release_id}. Send the x-release-id of the answer.")


def require_within_limit(
    connection: sa.Connection, table: sa.FromClause, author: str, daily_limit: int, now: datetime
) -> None:
    """Raise TooManyError if the author sent `daily_limit` in the last 24 hours; 0 is no limit."""
    if daily_limit == 0:
        return
    recent = (table.c.author == author) & (table.c.received_at > now - timedelta(hours=LIMIT_HOURS))
    count = connection.execute(sa.select(sa.func.count()).select_from(table).where(recent)).scalar_one()
    if count >= daily_limit:
        raise TooManyError(
            f"{author} sent {count} in the last {LIMIT_HOURS} hours, and {daily_limit} are allowed. Nothing was kept."
        )


def require_known_words(error_kind: str | None, severity: str | None, seconds_spent: int | None = None) -> None:
    """Raise LedgerError for a kind of error or a severity that is on no list, or a time below 0."""
    if error_kind is not None and error_kind not in KINDS_OF_CORRECTION:
        raise LedgerError(f"An error is one of {', '.join(KINDS_OF_CORRECTION)}.")
    if severity is not None and severity not in SEVERITIES:
        raise LedgerError(f"A severity is one of {', '.join(SEVERITIES)}.")
    if seconds_spent is not None and seconds_spent < 0:
        raise LedgerError("The seconds spent can't be below 0.")
