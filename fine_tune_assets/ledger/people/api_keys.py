"""API keys of the gateway: `fta_<id>_<secret>`, shown once, kept as a hash.

Owns making, checking, listing, rotating and revoking them, and the scopes that there are. The secret has 256 random bits, so a
plain SHA-256 can't be reversed by trying candidates.
"""

import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.schema import api_keys

SCOPES = (
    "chat", "correct", "embed", "metrics", "system_prompt", "raw_completions", "act_for", "act_for_any_label",
)  # fmt: skip
"""Besides these, `label:NAME`: may see documents with that access label."""
_LABEL = re.compile(r"label:[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SCOPES_CHARACTERS = 200
PREFIX = "fta"
OPERATOR = "operator"
"""Who the audit log names when nobody is logged in: whoever can run the command line."""
Outcome = Literal["ok", "unknown", "expired", "revoked"]


_NO_HASH = "0" * 64
"""Of no secret."""
_BY_ID = sa.select(api_keys).where(api_keys.c.key_id == sa.bindparam("key_id"))
"""Built once: every request of the gateway waits for it."""


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
    requests_per_minute: int | None = None
    tokens_per_day: int | None = None
    """None: no limit."""


@dataclass(frozen=True)
class KeyLimits:
    requests_per_minute: int | None = None
    tokens_per_day: int | None = None


NO_LIMITS = KeyLimits()


@dataclass(frozen=True)
class KeyCheck:
    """Whether a presented key opens a scope, and why not. `holder` is None only when the key is unknown."""

    outcome: Outcome
    holder: KeyHolder | None


def create_key(
    ledger: Ledger,
    name: str,
    scopes: Collection[str],
    expires_at: datetime | None = None,
    by: str = OPERATOR,
    limits: KeyLimits = NO_LIMITS,
) -> NewKey:
    """Raises LedgerError for an unknown scope, no scope, or a name that an unrevoked key already has."""
    wanted = check_scopes(scopes)
    if not name.strip():
        raise LedgerError("An API key needs a name: it is who corrections are recorded as coming from.")
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    with ledger.begin() as connection:
        taken = sa.select(api_keys.c.key_id).where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
        if connection.execute(taken).first():
            raise LedgerError(f"There is a key named {name} already. Revoke it first, or choose another name.")
        row = {"key_id": key_id, "name": name, "secret_hash": fingerprint_text(secret), "scopes": " ".join(wanted)}
        values = row | vars(limits) | {"created_at": datetime.now(UTC), "expires_at": expires_at}
        connection.execute(api_keys.insert().values(**values))
        audit.append(connection, by, "created API key", key_id)
    return NewKey(key_id, f"{PREFIX}_{key_id}_{secret}")


def check_scopes(scopes: Collection[str]) -> tuple[str, ...]:
    """The scopes in their order. Raises LedgerError for one that does not exist, or none."""
    labels = sorted(scope for scope in set(scopes) if _LABEL.fullmatch(scope))
    unknown = sorted(set(scopes) - set(SCOPES) - set(labels))
    if unknown or not scopes:
        known = f"{', '.join(SCOPES)} or label:NAME"
        raise LedgerError(f"Scopes must be some of {known}; got {', '.join(unknown) or 'none'}.")
    found = (*(scope for scope in SCOPES if scope in scopes), *labels)
    if len(" ".join(found)) > _SCOPES_CHARACTERS:
        raise LedgerError(f"The scopes are longer than {_SCOPES_CHARACTERS} characters together. Make a second key.")
    return found


def check_key(ledger: Ledger, presented: str, now: datetime) -> KeyCheck:
    """Decide on a presented key, not on its scopes. Takes the same time for a wrong secret wherever it differs."""
    prefix, key_id, secret = ([*presented.split("_", 2), "", "", ""])[:3]
    with ledger.read() as connection:
        row = connection.execute(_BY_ID, {"key_id": key_id}).mappings().first()
    hashed = fingerprint_text(secret)
    is_same = hmac.compare_digest(hashed, row["secret_hash"] if row else _NO_HASH)
    is_old = hmac.compare_digest(hashed, (row["old_secret_hash"] if row else None) or _NO_HASH)
    if row is None or prefix != PREFIX or not (is_same or (is_old and now < row["old_secret_until"])):
        return KeyCheck("unknown", None)
    holder = _holder(row)
    return KeyCheck(_outcome(holder, now), holder)


def _outcome(holder: KeyHolder, now: datetime) -> Outcome:
    if holder.revoked_at is not None:
        return "revoked"
    if holder.expires_at is not None and now >= holder.expires_at:
        return "expired"
    return "ok"


def list_keys(ledger: Ledger) -> list[KeyHolder]:
    with ledger.read() as connection:
        rows = connection.execute(sa.select(api_keys).order_by(api_keys.c.created_at, api_keys.c.key_id))
        return [_holder(row) for row in rows.mappings()]


def rotate_key(ledger: Ledger, key_id: str, grace: timedelta, by: str = OPERATOR) -> NewKey:
    """A new secret; the one of before opens for the grace time, the one before that no more. Scopes, limits and expiry stay.

    Raises UnknownRecordError, and LedgerError for a revoked key.
    """
    secret, now = secrets.token_urlsafe(32), datetime.now(UTC)
    with ledger.begin() as connection:
        row = _find(connection, key_id)
        if row["revoked_at"] is not None:
            raise LedgerError(f"Key {key_id} is revoked. Make a new one with `fine-tune keys create`.")
        old = {"old_secret_hash": row["secret_hash"], "old_secret_until": now + grace}
        _change(connection, key_id, secret_hash=fingerprint_text(secret), **old)
        audit.append(connection, by, "rotated API key", key_id)
    return NewKey(key_id, f"{PREFIX}_{key_id}_{secret}")


def revoke_key(ledger: Ledger, key_id: str, by: str = OPERATOR) -> None:
    """Raises UnknownRecordError. Revoking twice changes nothing."""
    with ledger.begin() as connection:
        if _find(connection, key_id)["revoked_at"] is None:
            _change(connection, key_id, revoked_at=datetime.now(UTC))
            audit.append(connection, by, "revoked API key", key_id)


def _find(connection: sa.Connection, key_id: str) -> Any:
    row = connection.execute(_BY_ID, {"key_id": key_id}).mappings().first()
    if row is None:
        raise UnknownRecordError(f"There is no API key {key_id}. `fine-tune keys list` shows them.")
    return row


def _change(connection: sa.Connection, key_id: str, **values: Any) -> None:
    connection.execute(api_keys.update().where(api_keys.c.key_id == key_id).values(**values))


def _holder(row: Any) -> KeyHolder:
    values = {name: row[name] for name in KeyHolder.__dataclass_fields__}
    return KeyHolder(**{**values, "scopes": tuple(row["scopes"].split())})
