"""Thumbs: what a user says of an answer without a better one. Owns storing them once and counting them. Holds no text."""

import json
import uuid
from datetime import UTC, datetime

import sqlalchemy as sa

from fine_tune_assets.core.error_kinds import RATINGS
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError
from fine_tune_assets.ledger.reviews.sent_once import (
    id_kept,
    require_known_words,
    require_release,
    require_within_limit,
)
from fine_tune_assets.ledger.schema import answer_feedback


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
    """Keep a thumb and return its id, once it is on disk. The same author and idempotency key: the same id again.

    Raises UnknownRecordError, IdempotencyError, TooManyError as for a correction; LedgerError for what is on no list.
    """
    if rating not in RATINGS:
        raise LedgerError(f"A rating is one of {', '.join(RATINGS)}.")
    require_known_words(error_kind, severity)
    said = {"rating": rating, "error_kind": error_kind, "severity": severity}
    content_hash, now = fingerprint_text(json.dumps([release_id, *said.values()])), now or datetime.now(UTC)
    with ledger.begin() as connection:
        known = id_kept(connection, answer_feedback.c.feedback_id, author, idempotency_key, content_hash)
        if known is not None:
            return known
        require_release(connection, release_id)
        require_within_limit(connection, answer_feedback, author, daily_limit, now)
        row = {"feedback_id": uuid.uuid4().hex, "release_id": release_id, "author": author, "received_at": now, **said}
        connection.execute(
            answer_feedback.insert().values(row | {"idempotency_key": idempotency_key, "content_hash": content_hash})
        )
        audit.append(connection, author, "rated an answer of a release", release_id)
        return str(row["feedback_id"])


def thumbs_by_release(ledger: Ledger) -> dict[str, dict[str, int]]:
    """Release → rating → how many; a release without any is absent."""
    columns = (answer_feedback.c.release_id, answer_feedback.c.rating)
    query = sa.select(*columns, sa.func.count()).group_by(*columns)
    found: dict[str, dict[str, int]] = {}
    with ledger.read() as connection:
        for release_id, rating, count in connection.execute(query):
            found.setdefault(release_id, dict.fromkeys(RATINGS, 0))[rating] = count
    return found
