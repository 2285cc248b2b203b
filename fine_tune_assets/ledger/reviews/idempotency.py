"""Validates feedback and corrections from callers: idempotency key, daily limit, release, error details.

Runs inside the caller's transaction.
"""

from datetime import datetime, timedelta

import sqlalchemy as sa

from fine_tune_assets.core.error_kinds import CORRECTION_ERROR_KINDS, SEVERITIES
from fine_tune_assets.ledger.ledger_errors import DailyLimitError, IdempotencyError, LedgerError, UnknownRecordError
from fine_tune_assets.ledger.ledger_tables import releases

LIMIT_WINDOW_HOURS = 24


def existing_id(
    connection: sa.Connection, ids: sa.Column[str], author: str, idempotency_key: str, content_hash: str
) -> str | None:
    """The id of an earlier identical request, or None. Raises IdempotencyError if the key was used with different content."""
    table = ids.table
    query = sa.select(ids, table.c.content_hash).where(
        table.c.author == author, table.c.idempotency_key == idempotency_key
    )
    known = connection.execute(query).first()
    if known is None:
        return None
    if known.content_hash != content_hash:
        raise IdempotencyError(
            f"This idempotency key was already used for {known[0]} with different content. Send new content with a "
            "new key."
        )
    return str(known[0])


def require_release(connection: sa.Connection, release_id: str) -> None:
    if not connection.execute(sa.select(releases.c.release_id).where(releases.c.release_id == release_id)).first():
        raise UnknownRecordError(f"Unknown release {release_id}. Send the x-release-id header of the answer.")


def require_within_daily_limit(
    connection: sa.Connection, table: sa.FromClause, author: str, daily_limit: int, now: datetime
) -> None:
    """Raise DailyLimitError if the author sent `daily_limit` in the last 24 hours; 0 means no limit."""
    if daily_limit == 0:
        return
    recent = (table.c.author == author) & (table.c.received_at > now - timedelta(hours=LIMIT_WINDOW_HOURS))
    count = connection.execute(sa.select(sa.func.count()).select_from(table).where(recent)).scalar_one()
    if count >= daily_limit:
        raise DailyLimitError(
            f"{author} sent {count} in the last {LIMIT_WINDOW_HOURS} hours; the limit is {daily_limit}. Nothing was "
            "stored."
        )


def require_valid_error_details(error_kind: str | None, severity: str | None, seconds_spent: int | None = None) -> None:
    """Raise LedgerError for an unknown error kind or severity, or a negative time."""
    if error_kind is not None and error_kind not in CORRECTION_ERROR_KINDS:
        raise LedgerError(f"error_kind must be one of {', '.join(CORRECTION_ERROR_KINDS)}.")
    if severity is not None and severity not in SEVERITIES:
        raise LedgerError(f"severity must be one of {', '.join(SEVERITIES)}.")
    if seconds_spent is not None and seconds_spent < 0:
        raise LedgerError("seconds_spent must not be negative.")
