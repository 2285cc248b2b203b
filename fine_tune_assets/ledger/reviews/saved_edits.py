"""Keeps the edit that a reviewer has typed and not signed, encrypted, so that it is there when they open the item again.

Each reviewer has one edit per example, which no other person gets. It is deleted with their decision and after `KEPT_DAYS`.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa

from fine_tune_assets.core.people import person_key
from fine_tune_assets.ledger.database import Ledger, write_transaction
from fine_tune_assets.ledger.encryption import decrypt, derive_key, encrypt
from fine_tune_assets.ledger.ledger_tables import saved_edits as edits
from fine_tune_assets.ledger.reviews.review_items import find_item
from fine_tune_assets.ledger.reviews.review_rows import ReviewItem

KEPT_DAYS = 30
_PURPOSE = "saved-edits"


@dataclass(frozen=True)
class SavedEdit:
    base_fingerprint: str
    """Fingerprint of the content that the reviewer changes."""
    text: str = field(repr=False)
    saved_at: datetime


def save_edit(
    ledger: Ledger, key: bytes, item: ReviewItem, reviewer: str, *, base_fingerprint: str, text: str, now: datetime
) -> None:
    """Replace the reviewer's edit of the item, unless a later request has: requests can overtake each other.

    Nothing is kept of an item that was erased, removed or decided since `item` was read.
    A power cut may lose the last edits, so that typing does not wait for the disk.
    """
    row = {
        "example_id": item.example_id,
        "reviewer_key": person_key(reviewer),
        "base_fingerprint": base_fingerprint,
        "subject_key": item.subject_key,
        "text": encrypt(derive_key(key, _PURPOSE), text, _encryption_context(item.example_id, reviewer)),
        "saved_at": now,
    }
    is_earlier = sa.and_(_is_edit(item.example_id, reviewer), edits.c.saved_at <= now)
    is_expired = edits.c.saved_at < now - timedelta(days=KEPT_DAYS)
    with ledger.begin(is_durable=False) as connection:
        present = find_item(connection, item.example_id)
        if present is None or (present.state, present.removed_at) != (item.state, None):
            return
        connection.execute(edits.delete().where(sa.or_(is_earlier, is_expired)))
        if connection.execute(sa.select(edits.c.saved_at).where(_is_edit(item.example_id, reviewer))).first() is None:
            connection.execute(edits.insert().values(row))


def find_edit(ledger: Ledger, key: bytes, example_id: str, reviewer: str) -> SavedEdit | None:
    """Raises LedgerError if decryption fails."""
    with ledger.read() as connection:
        row = connection.execute(sa.select(edits).where(_is_edit(example_id, reviewer))).mappings().first()
    if row is None:
        return None
    text = decrypt(derive_key(key, _PURPOSE), row["text"], _encryption_context(example_id, reviewer))
    return SavedEdit(row["base_fingerprint"], text, row["saved_at"])


def delete_edit(target: Ledger | sa.Connection, example_id: str, reviewer: str) -> None:
    """Delete the reviewer's edit, if there is one."""
    with write_transaction(target) as connection:
        connection.execute(edits.delete().where(_is_edit(example_id, reviewer)))


def _is_edit(example_id: str, reviewer: str) -> sa.ColumnElement[bool]:
    return sa.and_(edits.c.example_id == example_id, edits.c.reviewer_key == person_key(reviewer))


def _encryption_context(example_id: str, reviewer: str) -> str:
    return f"edit of {example_id} by {person_key(reviewer)}"
