"""API keys of the gateway: `fta_<id>_<secret>`, shown once, kept as a hash.

Owns making, checking, listing and revoking them. The secret has 256 random bits, so a plain SHA-256 can't be reversed
by trying candidates.
"""

import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.ledger import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.schema import api_keys

SCOPES = ("chat", "correct")
PREFIX = "fta"
OPERATOR = "operator"
"""Who the audit log names when nobody is logged in: whoever can run the command line."""
Outcome = Literal["ok", "unknown", "expired", "revoked", "wrong_scope"]


@dataclass(frozen=True)
class NewKey:
    key_id: str
    secret: str
    """The whole key as the caller presents it. It is nowhere else."""


@dataclass(frozen=True)
class KeyHolder:
    key_id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True)
class KeyCheck:
    """Whether a presented key opens a scope, and why not. `holder` is None only when the key is unknown."""

    outcome: Outcome
    holder: KeyHolder | None


def create_key(
    ledger: Ledger, name: str, scopes: Collection[str], expires_at: datetime | None = None, by: str = OPERATOR
) -> NewKey:
    """Raises LedgerError for an unknown scope, no scope, or a name that an unrevoked key already has."""
    wanted = _check_scopes(scopes)
    if not name.strip():
        raise LedgerError("An API key needs a name: it is who corrections are recorded as coming from.")
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    with ledger.begin() as connection:
        taken = sa.select(api_keys.c.key_id).where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
        if connection.execute(taken).first():
            raise LedgerError(f"There is a key named {name} already. Revoke it first, or choose another name.")
        row = {"key_id": key_id, "name": name, "secret_hash": fingerprint_text(secret), "scopes": " ".join(wanted)}
        connection.execute(api_keys.insert().values(**row, created_at=datetime.now(UTC), expires_at=expires_at))
        audit.append(connection, by, "created API key", key_id)
    return NewKey(key_id, f"{PREFIX}_{key_id}_{secret}")


def _check_scopes(scopes: Collection[str]) -> tuple[str, ...]:
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise LedgerError(f"Scopes must be some of {', '.join(SCOPES)}; got {', '.join(unknown) or 'none'}.")
    return tuple(scope for scope in SCOPES if scope in scopes)


def check_key(ledger: Ledger, presented: str, scope: str, now: datetime) -> KeyCheck:
    """Decide on a presented key. Takes the same time for a wrong secret wherever it differs."""
    prefix, key_id, secret = ([*presented.split("_", 2), "", "", ""])[:3]
    with ledger.read() as connection:
        row = connection.execute(sa.select(api_keys).where(api_keys.c.key_id == key_id)).mappings().first()
    stored = row["secret_hash"] if row else "0" * 64
    is_same = hmac.compare_digest(fingerprint_text(secret), stored)
    if row is None or prefix != PREFIX or not is_same:
        return KeyCheck("unknown", None)
    holder = _holder(row)
    return KeyCheck(_outcome(holder, scope, now), holder)


def _outcome(holder: KeyHolder, scope: str, now: datetime) -> Outcome:
    if holder.revoked_at is not None:
        return "revoked"
    if holder.expires_at is not None and now >= holder.expires_at:
        return "expired"
    return "ok" if scope in holder.scopes else "wrong_scope"


def list_keys(ledger: Ledger) -> list[KeyHolder]:
    with ledger.read() as connection:
        rows = connection.execute(sa.select(api_keys).order_by(api_keys.c.created_at, api_keys.c.key_id))
        return [_holder(row) for row in rows.mappings()]


def revoke_key(ledger: Ledger, key_id: str, by: str = OPERATOR) -> None:
    """Raises UnknownRecordError. Revoking twice changes nothing."""
    with ledger.begin() as connection:
        row = connection.execute(sa.select(api_keys).where(api_keys.c.key_id == key_id)).mappings().first()
        if row is None:
            raise UnknownRecordError(f"There is no API key {key_id}. `fine-tune keys list` shows them.")
        if row["revoked_at"] is None:
            connection.execute(
                api_keys.update().where(api_keys.c.key_id == key_id).values(revoked_at=datetime.now(UTC))
            )
            audit.append(connection, by, "revoked API key", key_id)


def _holder(row: Any) -> KeyHolder:
    return KeyHolder(
        row["key_id"],
        row["name"],
        tuple(row["scopes"].split()),
        row["created_at"],
        row["expires_at"],
        row["revoked_at"],
    )
