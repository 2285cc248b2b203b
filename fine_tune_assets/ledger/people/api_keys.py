"""API keys of the gateway: `fta_<id>_<secret>`, shown once and stored as a hash.

The secret has 256 random bits, so a plain SHA-256 can't be reversed by trying candidates.
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
from fine_tune_assets.core.permissions import SCOPES
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.ledger_tables import api_keys, users
from fine_tune_assets.ledger.people.users import find_user
from fine_tune_assets.ledger.seals import require_sealed, verify_row

_LABEL = re.compile(r"label:[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_SCOPES_CHARACTERS = 200
KEY_PREFIX = "fta"
OPERATOR = "operator"
"""Actor in the audit log for the command line."""
Outcome = Literal["ok", "unknown", "expired", "revoked"]


_NO_HASH = "0" * 64
"""Matches no secret."""
_SECRETS = ("secret_hash", "previous_secret_hash", "previous_secret_expires_at")
_COPIED = (
    "key_id", "name", "created_at", "expires_at", "revoked_at", "requests_per_minute", "tokens_per_day", "open_requests", "share",
    *_SECRETS,
)  # fmt: skip
"""Columns that a key has in every line that accepts it."""
_WITH_OWNER = api_keys.outerjoin(users, users.c.user_id == api_keys.c.user_id)
_KEYS = sa.select(api_keys, users.c.name.label("owner"), users.c.disabled_at).select_from(_WITH_OWNER)
_BY_ID = _KEYS.where(api_keys.c.key_id == sa.bindparam("key_id"))
"""Built once, because every gateway request runs it."""


@dataclass(frozen=True)
class NewKey:
    key_id: str
    secret: str
    """The complete key that the caller presents. It is not stored."""


@dataclass(frozen=True)
class ApiKey:
    key_id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    requests_per_minute: int | None = None
    tokens_per_day: int | None = None
    """None means no limit."""
    open_requests: int | None = None
    """Simultaneous chat requests; None means the limit of the settings."""
    share: int | None = None
    """Weight of its share of engine time; None means 1."""
    owner: str | None = None
    """Name of the user to whom it belongs: corrections sent with it are that person's."""


@dataclass(frozen=True)
class KeyLimits:
    requests_per_minute: int | None = None
    tokens_per_day: int | None = None
    open_requests: int | None = None
    share: int | None = None


NO_LIMITS = KeyLimits()


@dataclass(frozen=True)
class KeyCheck:
    """Result of checking a presented key. `api_key` is None only if the key is unknown."""

    outcome: Outcome
    api_key: ApiKey | None


def create_key(
    ledger: Ledger,
    name: str,
    scopes: Collection[str],
    expires_at: datetime | None = None,
    by: str = OPERATOR,
    limits: KeyLimits = NO_LIMITS,
    owner: str | None = None,
) -> NewKey:
    """Create a key that belongs to the user `owner`.

    Raises LedgerError for unknown or no scopes, a name that an active key already has, or a key for corrections without owner and
    without the scope on_behalf_of; UnknownRecordError for an unknown user.
    """
    if not name.strip():
        raise LedgerError("An API key needs a name.")
    granted = _grant(ledger, scopes, owner)
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    with ledger.begin() as connection:
        _require_unused_name(connection, name)
        row = {"key_id": key_id, "name": name, "secret_hash": fingerprint_text(secret), **granted}
        times = {"created_at": datetime.now(UTC), "expires_at": expires_at}
        values = {**row, **vars(limits), **times}
        connection.execute(api_keys.insert().values(**values))
        audit.append(connection, by, "created API key", key_id)
    return NewKey(key_id, f"{KEY_PREFIX}_{key_id}_{secret}")


def _require_unused_name(connection: sa.Connection, name: str) -> None:
    taken = sa.select(api_keys.c.key_id).where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
    if connection.execute(taken).first():
        raise LedgerError(
            f"An active key named {name} exists. Revoke it with `fine-tune keys revoke`, or choose another name."
        )


def _grant(ledger: Ledger, scopes: Collection[str], owner: str | None) -> dict[str, str | None]:
    """The columns of a key that say what it may do, and for whom. Raises the errors of `create_key`."""
    wanted = check_scopes(scopes)
    if owner is None and "correct" in wanted and "on_behalf_of" not in wanted:
        raise LedgerError(
            "A key for corrections must belong to a user, who cannot approve them: add `--user NAME`. An application "
            "that sends the corrections of several people needs the scope on_behalf_of instead."
        )
    return {"scopes": " ".join(wanted), "user_id": None if owner is None else find_user(ledger, owner).user_id}


def accept_key(
    ledger: Ledger, source: Ledger, key_id: str, scopes: Collection[str], *, by: str, owner: str | None = None
) -> None:
    """Let a key of another product line, whose ledger is `source`, ask this line's model, with scopes and owner of its own.

    Its expiry and limits are copied. Raises the errors of `create_key`, UnknownRecordError if `source` has no such key,
    LedgerError if it is revoked or expired, and SealError if its row was changed.
    """
    granted = _grant(ledger, scopes, owner)
    with source.read() as connection:
        found = _find(connection, key_id)
        verify_row(connection, api_keys, found)
    if (outcome := _key_outcome(_api_key(found), datetime.now(UTC))) != "ok":
        raise LedgerError(f"Key {key_id} is {outcome}. Create a new one: `fine-tune keys create`")
    with ledger.begin() as connection:
        if connection.execute(_BY_ID, {"key_id": key_id}).first() is not None:
            raise LedgerError(
                f"Key {key_id} is accepted already. To change its scopes, revoke it and create another one."
            )
        _require_unused_name(connection, str(found["name"]))
        connection.execute(api_keys.insert().values(**{name: found[name] for name in _COPIED}, **granted))
        audit.append(connection, by, "accepted API key", key_id)


def copy_secret(ledger: Ledger, source: Ledger, key_id: str, *, by: str) -> None:
    """Take over the secrets of a key that was rotated in another line. Raises UnknownRecordError."""
    with source.read() as connection:
        row = _find(connection, key_id)
        verify_row(connection, api_keys, row)
        values = {name: row[name] for name in _SECRETS}
    with ledger.begin() as connection:
        _change(connection, key_id, **values)
        audit.append(connection, by, "rotated API key", key_id)


def check_scopes(scopes: Collection[str]) -> tuple[str, ...]:
    """The scopes in canonical order. Raises LedgerError for unknown or no scopes."""
    labels = sorted(scope for scope in set(scopes) if _LABEL.fullmatch(scope))
    unknown = sorted(set(scopes) - set(SCOPES) - set(labels))
    if unknown or not scopes:
        known = f"{', '.join(SCOPES)} or label:NAME"
        raise LedgerError(f"Scopes must be some of {known}; got {', '.join(unknown) or 'none'}.")
    found = (*(scope for scope in SCOPES if scope in scopes), *labels)
    if len(" ".join(found)) > _MAX_SCOPES_CHARACTERS:
        raise LedgerError(
            f"The scopes exceed {_MAX_SCOPES_CHARACTERS} characters in total. Create a second key for the rest."
        )
    return found


def key_id_of(presented: str) -> str:
    """The id in a presented key; empty if it is none."""
    prefix, _, rest = presented.partition("_")
    return rest.partition("_")[0] if prefix == KEY_PREFIX else ""


def is_known_key(ledger: Ledger, key_id: str) -> bool:
    """Whether this ledger has the key, whatever its state. Authorizes nothing."""
    with ledger.read() as connection:
        return connection.execute(sa.select(api_keys.c.key_id).where(api_keys.c.key_id == key_id)).first() is not None


def check_key(ledger: Ledger, presented: str, now: datetime) -> KeyCheck:
    """Check a presented key, but not its scopes, in constant time. Raises SealError."""
    if not presented.isprintable():  # PostgreSQL refuses some characters with an error
        return KeyCheck("unknown", None)
    prefix, key_id, secret = ([*presented.split("_", 2), "", "", ""])[:3]
    with ledger.read() as connection:
        row = connection.execute(_BY_ID, {"key_id": key_id}).mappings().first()
        if row is not None:
            verify_row(connection, api_keys, row)
            if row["user_id"] is not None:
                require_sealed(connection, users, users.c.user_id == row["user_id"])
    hashed = fingerprint_text(secret)
    is_same = hmac.compare_digest(hashed, row["secret_hash"] if row else _NO_HASH)
    is_old = hmac.compare_digest(hashed, (row["previous_secret_hash"] if row else None) or _NO_HASH)
    if row is None or prefix != KEY_PREFIX or not (is_same or (is_old and now < row["previous_secret_expires_at"])):
        return KeyCheck("unknown", None)
    holder = _api_key(row)
    is_owner_disabled = row["disabled_at"] is not None
    return KeyCheck("revoked" if is_owner_disabled else _key_outcome(holder, now), holder)


def _key_outcome(holder: ApiKey, now: datetime) -> Outcome:
    if holder.revoked_at is not None:
        return "revoked"
    if holder.expires_at is not None and now >= holder.expires_at:
        return "expired"
    return "ok"


def list_keys(ledger: Ledger) -> list[ApiKey]:
    with ledger.read() as connection:
        require_sealed(connection, api_keys, sa.true())
        rows = connection.execute(_KEYS.order_by(api_keys.c.created_at, api_keys.c.key_id))
        return [_api_key(row) for row in rows.mappings()]


def rotate_key(ledger: Ledger, key_id: str, grace: timedelta, by: str = OPERATOR) -> NewKey:
    """Issue a new secret; the previous one stays valid for the grace period. Scopes, limits and expiry stay.

    Secrets before the previous one become invalid. Raises UnknownRecordError, and LedgerError for a revoked key.
    """
    secret, now = secrets.token_urlsafe(32), datetime.now(UTC)
    with ledger.begin() as connection:
        row = _find(connection, key_id)
        if row["revoked_at"] is not None:
            raise LedgerError(f"Key {key_id} is revoked. Create a new one: `fine-tune keys create`")
        old = {"previous_secret_hash": row["secret_hash"], "previous_secret_expires_at": now + grace}
        _change(connection, key_id, secret_hash=fingerprint_text(secret), **old)
        audit.append(connection, by, "rotated API key", key_id)
    return NewKey(key_id, f"{KEY_PREFIX}_{key_id}_{secret}")


def revoke_key(ledger: Ledger, key_id: str, by: str = OPERATOR) -> None:
    """Revoke a key; revoking it again changes nothing. Raises UnknownRecordError."""
    with ledger.begin() as connection:
        if _find(connection, key_id)["revoked_at"] is None:
            _change(connection, key_id, revoked_at=datetime.now(UTC))
            audit.append(connection, by, "revoked API key", key_id)


def _find(connection: sa.Connection, key_id: str) -> Any:
    row = connection.execute(_BY_ID, {"key_id": key_id}).mappings().first()
    if row is None:
        raise UnknownRecordError(f"Unknown API key {key_id}. To list keys: `fine-tune keys list`")
    return row


def _change(connection: sa.Connection, key_id: str, **values: Any) -> None:
    connection.execute(api_keys.update().where(api_keys.c.key_id == key_id).values(**values))


def _api_key(row: Any) -> ApiKey:
    values = {name: row[name] for name in ApiKey.__dataclass_fields__}
    return ApiKey(**{**values, "scopes": tuple(row["scopes"].split())})
