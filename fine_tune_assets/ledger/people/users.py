"""Users of the desk: names, roles, password sign-in with growing waits, access labels.

One operator always remains. Spelling variants of a name (case, spacing) are the same user. The desk decides what a role permits.
"""

import textwrap
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.access_labels import LabelError, check_labels
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.people import find_look_alike, has_mixed_scripts, person_key
from fine_tune_assets.core.permissions import ROLES
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.ledger_tables import sessions, users
from fine_tune_assets.ledger.ledger_tables import sign_in_failures as failures_table
from fine_tune_assets.ledger.people.passwords import check_password, hash_password, is_correct_password, is_outdated
from fine_tune_assets.ledger.seals import select_sealed

OPERATOR = "operator"
"""The role that manages users, and the actor in the audit log for the command line."""
FIRST_USER = "demo"
"""The user of the sign-in link of a new installation. A person adds a user under their own name."""
OS_PREFIX = "os:"
"""Commands record operating-system users as `os:NAME`, so desk users cannot have such a name."""
LOCKOUT_THRESHOLD = 5
"""Consecutive failures of one source before it must wait. Other sources need not: a stranger can't lock a user out."""
ACCOUNT_THRESHOLD = 100
"""Failures of all sources, since the user last signed in, before unknown sources must wait: the limit of NIST SP 800-63B-4."""
FIRST_LOCKOUT_SECONDS = 60
MAX_LOCKOUT_SECONDS = 3600
_RETENTION_DAYS = 1
"""Days after which the failures of a source are forgotten."""
_LABELS_MAX_CHARACTERS = 90
"""Characters of labels per audit entry, next to the longest name."""


@dataclass(frozen=True)
class User:
    user_id: str
    name: str
    roles: tuple[str, ...]
    created_at: datetime
    disabled_at: datetime | None
    has_password: bool
    oidc_identity: str | None
    locked_until: datetime | None
    labels: tuple[str, ...] = ()
    """The user's own access labels, in addition to the labels of their groups at the sign-in provider."""

    @property
    def is_enabled(self) -> bool:
        return self.disabled_at is None


def create_user(
    ledger: Ledger,
    name: str,
    roles: Collection[str],
    *,
    password: str | None,
    oidc_identity: str | None,
    now: datetime,
    by: str = OPERATOR,
    labels: Collection[str] = (),
    can_use_link: bool = False,
) -> User:
    """Create a user; with `can_use_link` they need neither password nor identity.

    Raises LedgerError for a taken or reserved name, a taken identity, an unknown role, an invalid label, a weak password
    or no way to sign in.
    """
    spelt = " ".join(name.split())
    if not spelt or len(spelt) > 200 or not spelt.isprintable():
        raise LedgerError("A user needs a name of 1 to 200 printable characters; decisions are recorded under it.")
    if has_mixed_scripts(spelt):
        raise LedgerError("A word of the name mixes letters of several scripts, so it could be taken for another name.")
    if person_key(spelt).startswith(OS_PREFIX):
        raise LedgerError(f"The prefix {OS_PREFIX} is reserved for operating-system users. Use another name.")
    if password is None and oidc_identity is None and not can_use_link:
        raise LedgerError(f"User {spelt} needs a password or an OIDC identity to sign in.")
    if password is not None:
        check_password(password, spelt)
    row = {
        "user_id": uuid.uuid4().hex,
        "name": spelt,
        "name_key": person_key(spelt),
        "password_hash": None if password is None else hash_password(password),
        "oidc_identity": _check_identity(oidc_identity),
        "roles": " ".join(check_roles(roles)),
        "created_at": now,
        "failed_sign_ins": 0,
        "labels": " ".join(_validate_labels(labels)),
    }
    with ledger.begin() as connection:
        _require_unused(connection, row)
        connection.execute(users.insert().values(**row))
        audit.append(connection, by, "created a user", f"user {spelt}: {row['roles']}")
        if labels:
            _audit_labels(connection, by, row)
    return find_user(ledger, spelt)


def check_roles(roles: Collection[str]) -> tuple[str, ...]:
    """The roles in canonical order. Raises LedgerError for unknown or no roles."""
    unknown = sorted(set(roles) - set(ROLES))
    if unknown or not roles:
        raise LedgerError(f"Roles must be some of {', '.join(ROLES)}; got {', '.join(unknown) or 'none'}.")
    return tuple(role for role in ROLES if role in roles)


def find_user(ledger: Ledger, name: str) -> User:
    """The user with this name in any spelling. Raises UnknownRecordError."""
    with ledger.read() as connection:
        return _user(_require(connection, name))


def find_enabled_user(connection: sa.Connection, name: str) -> User | None:
    """The user with this name in any spelling, unless they are disabled."""
    row = _row(connection, name)
    return None if row is None or row["disabled_at"] is not None else _user(row)


def find_user_by_id(connection: sa.Connection, user_id: str) -> User:
    """The user of a row that refers to it."""
    return _user(select_sealed(connection, sa.select(users).where(users.c.user_id == user_id))[0])


def find_user_by_identity(ledger: Ledger, identities: Collection[str]) -> User | None:
    """The enabled user with one of these OIDC identities; None if there is none or more than one."""
    query = sa.select(users).where(users.c.oidc_identity.in_(identities), users.c.disabled_at.is_(None))
    with ledger.read() as connection:
        found = select_sealed(connection, query)
    return _user(found[0]) if len(found) == 1 else None


def list_users(ledger: Ledger) -> list[User]:
    with ledger.read() as connection:
        return [_user(row) for row in select_sealed(connection, sa.select(users).order_by(users.c.name_key))]


def set_roles(ledger: Ledger, name: str, roles: Collection[str], *, by: str = OPERATOR) -> None:
    """Effective with the next request. Raises UnknownRecordError, and LedgerError if no operator would remain."""
    new_roles = check_roles(roles)
    with ledger.begin() as connection:
        row = _require(connection, name)
        if OPERATOR not in new_roles:
            _require_other_operator(connection, row)
        _change(connection, row, roles=" ".join(new_roles))
        audit.append(connection, by, "changed roles", f"user {row['name']}: {' '.join(new_roles)}")


def set_labels(ledger: Ledger, name: str, labels: Collection[str], *, by: str = OPERATOR) -> None:
    """Replace the access labels, effective with the next request. Raises UnknownRecordError, and LedgerError for invalid
    labels."""
    new_labels = " ".join(_validate_labels(labels))
    with ledger.begin() as connection:
        row = _require(connection, name)
        if new_labels != (row["labels"] or ""):
            _change(connection, row, labels=new_labels)
            _audit_labels(connection, by, {"name": row["name"], "labels": new_labels})


def _validate_labels(labels: Collection[str]) -> tuple[str, ...]:
    try:
        return check_labels(labels)
    except LabelError as error:
        raise LedgerError(str(error)) from error


def _audit_labels(connection: sa.Connection, by: str, row: Mapping[str, Any]) -> None:
    """Write several entries for many labels: the length of one is limited."""
    for part in textwrap.wrap(row["labels"], _LABELS_MAX_CHARACTERS, break_on_hyphens=False) or ["none"]:
        audit.append(connection, by, "changed labels", f"user {row['name']}: {part}")


def disable_user(ledger: Ledger, name: str, *, now: datetime, by: str = OPERATOR) -> None:
    """Disable a user and end all their sessions; does nothing if already disabled. Raises the errors of `set_roles`."""
    with ledger.begin() as connection:
        row = _require(connection, name)
        if row["disabled_at"] is None:
            _require_other_operator(connection, row)
            _change(connection, row, disabled_at=now)
            connection.execute(sessions.delete().where(sessions.c.user_id == row["user_id"]))
            audit.append(connection, by, "disabled a user", f"user {row['name']}")


def enable_user(ledger: Ledger, name: str, *, by: str = OPERATOR) -> None:
    """Enable a disabled user."""
    with ledger.begin() as connection:
        row = _require(connection, name)
        if row["disabled_at"] is not None:
            _change(connection, row, disabled_at=None)
            _forget_failures(connection, row)
            audit.append(connection, by, "enabled a user", f"user {row['name']}")


def set_password(ledger: Ledger, name: str, password: str, *, by: str = OPERATOR) -> None:
    """Set a password, end all sessions and lift a lockout. Raises UnknownRecordError, LedgerError."""
    check_password(password, name)
    hashed = hash_password(password)
    with ledger.begin() as connection:
        row = _require(connection, name)
        _change(connection, row, password_hash=hashed)
        _forget_failures(connection, row)
        connection.execute(sessions.delete().where(sessions.c.user_id == row["user_id"]))
        audit.append(connection, by, "set a password", f"user {row['name']}")


def sign_in(
    ledger: Ledger, name: str, password: str, *, now: datetime, source: str, is_known_source: bool = False
) -> User | None:
    """The user, or None: unknown name, wrong password, disabled and locked-out users are indistinguishable.

    `source` names where the attempt comes from, such as an address; a known source is one from which this user signed in before.
    Counts a failure before it checks the password, so that simultaneous guesses all count.
    """
    key = fingerprint_text(source)
    row, failures = _count_attempt(ledger, name, now, key, is_known_source)
    if not is_correct_password(row["password_hash"] if row else None, password) or row is None:
        if row is not None and failures >= LOCKOUT_THRESHOLD:
            audit.append(ledger, row["name"], "was locked out", f"one source, after {failures} failed sign-ins")
        return None
    changes = {"locked_until": row["locked_until"]}  # as before the attempt was counted
    if is_outdated(row["password_hash"]):
        changes["password_hash"] = hash_password(password)
    with ledger.begin() as connection:
        own = _read_failures(connection, row, key).failures
        connection.execute(failures_table.delete().where(_of_source(row, key)))
        total = _require(connection, row["name"])["failed_sign_ins"]
        _change(connection, row, failed_sign_ins=max(0, total - own), **changes)
    return _user(row)


def take_failed_sign_ins(ledger: Ledger, user: User) -> int:
    """Failed sign-ins since this was last called for the user, without those that the user's own sign-in made good."""
    with ledger.begin() as connection:
        row = _require(connection, user.name)
        if row["failed_sign_ins"]:
            _change(connection, row, failed_sign_ins=0, locked_until=None)
        return int(row["failed_sign_ins"])


def _count_attempt(ledger: Ledger, name: str, now: datetime, key: str, is_known_source: bool) -> tuple[Any, int]:
    """The row whose password may be checked, before the count, and the failures of this source; without a row if the user is
    unknown or disabled, or must wait."""
    with ledger.begin() as connection:
        row = _row(connection, name)
        if row is None or row["disabled_at"] is not None or (not is_known_source and _is_locked(row, now)):
            return None, 0
        of_source = _read_failures(connection, row, key)
        if of_source.locked_until is not None and now < of_source.locked_until:
            return None, 0
        total, own = row["failed_sign_ins"] + 1, of_source.failures + 1
        _change(connection, row, failed_sign_ins=total, locked_until=_locked_until(total, ACCOUNT_THRESHOLD, now))
        connection.execute(failures_table.delete().where(_of_source(row, key) | _is_forgotten(now)))
        values = {"failures": own, "last_at": now, "locked_until": _locked_until(own, LOCKOUT_THRESHOLD, now)}
        connection.execute(failures_table.insert().values(user_id=row["user_id"], source_key=key, **values))
        return row, own


@dataclass(frozen=True)
class _Failures:
    """Of one source, for one user."""

    failures: int = 0
    locked_until: datetime | None = None


def _read_failures(connection: sa.Connection, row: Any, key: str) -> _Failures:
    query = sa.select(failures_table.c.failures, failures_table.c.locked_until).where(_of_source(row, key))
    found = connection.execute(query).first()
    return _Failures(*found) if found else _Failures()


def _of_source(row: Any, key: str) -> sa.ColumnElement[bool]:
    return (failures_table.c.user_id == row["user_id"]) & (failures_table.c.source_key == key)


def _is_forgotten(now: datetime) -> sa.ColumnElement[bool]:
    return failures_table.c.last_at < now - timedelta(days=_RETENTION_DAYS)


def _is_locked(row: Any, now: datetime) -> bool:
    return row["locked_until"] is not None and now < row["locked_until"]


def _locked_until(failures: int, threshold: int, now: datetime) -> datetime | None:
    if failures < threshold:
        return None
    seconds = FIRST_LOCKOUT_SECONDS * 2 ** min(failures - threshold, 10)
    return now + timedelta(seconds=min(seconds, MAX_LOCKOUT_SECONDS))


def _forget_failures(connection: sa.Connection, row: Any) -> None:
    _change(connection, row, failed_sign_ins=0, locked_until=None)
    connection.execute(failures_table.delete().where(failures_table.c.user_id == row["user_id"]))


def _check_identity(identity: str | None) -> str | None:
    """Validate `ISSUER|SUBJECT`, or `ISSUER|mailto:ADDRESS` for a verified address."""
    if identity is None:
        return None
    issuer, _, subject = identity.partition("|")
    if not issuer.startswith(("https://", "http://")) or not subject.strip() or len(identity) > 500:
        raise LedgerError("An OIDC identity is ISSUER|SUBJECT or ISSUER|mailto:ADDRESS, with the issuer's full URL.")
    return f"{issuer}|{subject.casefold() if subject.startswith('mailto:') else subject}"


def _require_unused(connection: sa.Connection, row: dict[str, Any]) -> None:
    names = [user["name"] for user in select_sealed(connection, sa.select(users))]
    if (other := find_look_alike(row["name"], names)) is not None:
        raise LedgerError(
            f"User {other} already exists and looks like {row['name']}; the user may be disabled. To list "
            "users: `fine-tune users list`"
        )
    taken = sa.select(users.c.name).where(users.c.oidc_identity == row["oidc_identity"])
    if row["oidc_identity"] is not None and connection.execute(taken).first() is not None:
        raise LedgerError("Another user already has this OIDC identity.")


def _require_other_operator(connection: sa.Connection, row: Any) -> None:
    others = sa.select(users.c.roles).where(users.c.user_id != row["user_id"], users.c.disabled_at.is_(None))
    is_operator = OPERATOR in row["roles"].split() and row["disabled_at"] is None
    if is_operator and not any(OPERATOR in roles.split() for roles in connection.execute(others).scalars()):
        raise LedgerError(f"{row['name']} is the last operator. Make another user an operator first.")


def _row(connection: sa.Connection, name: str) -> Any:
    return next(iter(select_sealed(connection, sa.select(users).where(users.c.name_key == person_key(name)))), None)


def _require(connection: sa.Connection, name: str) -> Any:
    row = _row(connection, name)
    if row is None:
        raise UnknownRecordError("Unknown user. To list users: `fine-tune users list`")
    return row


def _change(connection: sa.Connection, row: Any, **values: Any) -> None:
    connection.execute(users.update().where(users.c.user_id == row["user_id"]).values(**values))


def _user(row: Any) -> User:
    names = ("user_id", "name", "created_at", "disabled_at", "oidc_identity", "locked_until")
    roles, labels = (tuple((row[name] or "").split()) for name in ("roles", "labels"))
    plain = {name: row[name] for name in names}
    return User(**plain, roles=roles, has_password=row["password_hash"] is not None, labels=labels)
