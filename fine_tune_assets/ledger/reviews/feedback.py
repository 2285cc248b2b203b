"""Stores users' thumbs up and down, and counts them. Contains no text."""

import json
import uuid
from datetime import UTC, datetime

import sqlalchemy as sa

from fine_tune_assets.core.error_kinds import RATINGS
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.ledger_tables import answer_feedback
from fine_tune_assets.ledger.reviews.idempotency import (
    existing_id,
    require_release,
    require_valid_error_details,
    require_within_daily_limit,
)


def record_feedback(
    ledger: Ledger,
    *,
    release_id: str,
    author: str,
    rating: str,
    idempotency_key: str,
    error_kind: str | None = None,
    severity: str | None = None,
    daily_limit: int = 0,
    now: datetime | None = None,
) -> str:
    """Store feedback durably and return its id; a repeated author and idempotency key return the same id.

    Raises UnknownRecordError, IdempotencyError and DailyLimitError as for a correction; LedgerError for an unknown rating, error
    kind or severity.
    """
    if rating not in RATINGS:
        raise LedgerError(f"The rating must be one of {', '.join(RATINGS)}.")
    require_valid_error_details(error_kind, severity)
    details = {"rating": rating, "error_kind": error_kind, "severity": severity}
    content_hash, now = fingerprint_text(json.dumps([release_id, *details.values()])), now or datetime.now(UTC)
    with ledger.begin() as connection:
        known = existing_id(connection, answer_feedback.c.feedback_id, author, idempotency_key, content_hash)
        if known is not None:
            return known
        require_release(connection, release_id)
        require_within_daily_limit(connection, answer_feedback, author, daily_limit, now)
        row = {
            "feedback_id": uuid.uuid4().hex,
            "release_id": release_id,
            "author": author,
            "received_at": now,
            **details,
        }
        connection.execute(
            answer_feedback.insert().values(row | {"idempotency_key": idempotency_key, "content_hash": content_hash})
        )
        audit.append(connection, author, "rated an answer of a release", release_id)
        return str(row["feedback_id"])


def count_feedback_by_release(ledger: Ledger) -> dict[str, dict[str, int]]:
    """Release → rating → count; releases without feedback are absent."""
    columns = (answer_feedback.c.release_id, answer_feedback.c.rating)
    query = sa.select(*columns, sa.func.count()).group_by(*columns)
    found: dict[str, dict[str, int]] = {}
    with ledger.read() as connection:
        for release_id, rating, count in connection.execute(query):
            found.setdefault(release_id, dict.fromkeys(RATINGS, 0))[rating] = count
    return found
