"""Users of the desk: names, roles, and signing in with a password.

Owns who there is, that one operator always remains, and the lock-out after failures. A name is one person's whatever its
case and spacing. Sessions are in the module beside this one; what a role may do is the desk's.
"""

import textwrap
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.access_labels import LabelError, check_labels
from fine_tune_assets.core.people import person_key
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.people.passwords import check_password, hash_password, is_outdated, is_right
from fine_tune_assets.ledger.schema import sessions, users

ROLES = ("user", "ingest", "reviewer", "approver", "operator", "auditor")
OPERATOR = "operator"
"""The role that manages users; and who the audit log names when the command line does."""
FREE_FAILURES = 5
"""Failures in a row before a name is locked: NIST SP 800-63B-4 allows 100, with growing waits."""
FIRST_LOCK_SECONDS = 60
LONGEST_LOCK_SECONDS = 3600
_LABELS_OF_A_LINE = 90
"""Characters, beside the longest name."""


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
    """Access labels of documents that the user may see, besides those of their groups at the sign-in provider."""

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
    is_by_link: bool = False,
) -> User:
    """`is_by_link`: signs in by one-time links, and needs neither password nor identity.

    Raises LedgerError for a taken name or identity, an unknown role, a word that is no label, a weak password or no way in.
    """
    spelt = " ".join(name.split())
    if not spelt or len(spelt) > 200 or not spelt.isprintable():
        raise LedgerError(
            "A user needs a name of at most 200 characters, none of them invisible: it is who decisions are recorded as "
            "coming from."
        )
    if password is None and oidc_identity is None and not is_by_link:
        raise LedgerError(f"{spelt} needs a password or an OIDC identity to sign in with.")
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
        "labels": " ".join(_checked(labels)),
    }
    with ledger.begin() as connection:
        _refuse_taken(connection, row)
        connection.execute(users.insert().values(**row))
        audit.append(connection, by, "created a user", f"user {spelt}: {row['roles']}")
        if labels:
            _tell_labels(connection, by, row)
    return find_user(ledger, spelt)


def check_roles(roles: Collection[str]) -> tuple[str, ...]:
    """The roles in their order. Raises LedgerError for an unknown one, or none."""
    unknown = sorted(set(roles) - set(ROLES))
    if unknown or not roles:
        raise LedgerError(f"Roles must be some of {', '.join(ROLES)}; got {', '.join(unknown) or 'none'}.")
    return tuple(role for role in ROLES if role in roles)


def find_user(ledger: Ledger, name: str) -> User:
    """By its name in any spelling. Raises UnknownRecordError."""
    with ledger.read() as connection:
        return _user(_require(connection, name))


def find_by_identity(ledger: Ledger, identities: Collection[str]) -> User | None:
    """The enabled user that an OIDC provider vouches for by any of these, or None. Two users never: then None too."""
    query = sa.select(users).where(users.c.oidc_identity.in_(identities), users.c.disabled_at.is_(None))
    with ledger.read() as connection:
        found = connection.execute(query).mappings().all()
    return _user(found[0]) if len(found) == 1 else None


def list_users(ledger: Ledger) -> list[User]:
    with ledger.read() as connection:
        return [_user(row) for row in connection.execute(sa.select(users).order_by(users.c.name_key)).mappings()]


def set_roles(ledger: Ledger, name: str, roles: Collection[str], *, by: str = OPERATOR) -> None:
    """Holds from the next click on. Raises UnknownRecordError, and LedgerError if no operator would be left."""
    wanted = check_roles(roles)
    with ledger.begin() as connection:
        row = _require(connection, name)
        if OPERATOR not in wanted:
            _keep_an_operator(connection, row)
        _change(connection, row, roles=" ".join(wanted))
        audit.append(connection, by, "changed roles", f"user {row['name']}: {' '.join(wanted)}")


def set_labels(ledger: Ledger, name: str, labels: Collection[str], *, by: str = OPERATOR) -> None:
    """Exactly these access labels, from the next click on. Raises UnknownRecordError, and LedgerError for a word that is none."""
    wanted = " ".join(_checked(labels))
    with ledger.begin() as connection:
        row = _require(connection, name)
        if wanted != (row["labels"] or ""):
            _change(connection, row, labels=wanted)
            _tell_labels(connection, by, {"name": row["name"], "labels": wanted})


def _checked(labels: Collection[str]) -> tuple[str, ...]:
    try:
        return check_labels(labels)
    except LabelError as error:
        raise LedgerError(str(error)) from error


def _tell_labels(connection: sa.Connection, by: str, row: Mapping[str, Any]) -> None:
    """Of many labels in several lines: one holds so many characters."""
    for part in textwrap.wrap(row["labels"], _LABELS_OF_A_LINE, break_on_hyphens=False) or ["none"]:
        audit.append(connection, by, "changed labels", f"user {row['name']}: {part}")


def disable_user(ledger: Ledger, name: str, *, now: datetime, by: str = OPERATOR) -> None:
    """End every session and let nobody in under this name. Twice changes nothing. Raises as `set_roles` does."""
    with ledger.begin() as connection:
        row = _require(connection, name)
        if row["disabled_at"] is None:
            _keep_an_operator(connection, row)
            _change(connection, row, disabled_at=now)
            connection.execute(sessions.delete().where(sessions.c.user_id == row["user_id"]))
            audit.append(connection, by, "disabled a user", f"user {row['name']}")


def enable_user(ledger: Ledger, name: str, *, by: str = OPERATOR) -> None:
    """Let a user in again who was disabled."""
    with ledger.begin() as connection:
        row = _require(connection, name)
        if row["disabled_at"] is not None:
            _change(connection, row, disabled_at=None, failed_sign_ins=0, locked_until=None)
            audit.append(connection, by, "enabled a user", f"user {row['name']}")


def set_password(ledger: Ledger, name: str, password: str, *, by: str = OPERATOR) -> None:
    """A new password: every session ends, and a lock is lifted. Raises UnknownRecordError, LedgerError."""
    check_password(password, name)
    hashed = hash_password(password)
    with ledger.begin() as connection:
        row = _require(connection, name)
        _change(connection, row, password_hash=hashed, failed_sign_ins=0, locked_until=None)
        connection.execute(sessions.delete().where(sessions.c.user_id == row["user_id"]))
        audit.append(connection, by, "set a password", f"user {row['name']}")


def sign_in(ledger: Ledger, name: str, password: str, *, now: datetime) -> User | None:
    """The user, or None: an unknown name, a wrong password, a disabled and a locked user are not told apart.

    A failure is counted before the password is looked at: a hundred guesses at once are a hundred failures.
    """
    row = _count_attempt(ledger, name, now)
    if not is_right(row["password_hash"] if row else None, password) or row is None:
        if row is not None and row["failed_sign_ins"] + 1 >= FREE_FAILURES:
            audit.append(ledger, row["name"], "was locked out", f"after {row['failed_sign_ins'] + 1} failed sign-ins")
        return None
    changes: dict[str, Any] = {"failed_sign_ins": 0, "locked_until": None}
    if is_outdated(row["password_hash"]):
        changes["password_hash"] = hash_password(password)
    with ledger.begin() as connection:
        _change(connection, row, **changes)
    return _user(row)


def _count_attempt(ledger: Ledger, name: str, now: datetime) -> Any:
    """The row whose password may be looked at, with the count of before; None if there is none to look at."""
    with ledger.begin() as connection:
        row = _row(connection, name)
        is_locked = row is not None and row["locked_until"] is not None and now < row["locked_until"]
        if row is None or is_locked or row["disabled_at"] is not None:
            return None
        failures = row["failed_sign_ins"] + 1
        _change(connection, row, failed_sign_ins=failures, locked_until=_locked_until(failures, now))
        return row


def _locked_until(failures: int, now: datetime) -> datetime | None:
    if failures < FREE_FAILURES:
        return None
    seconds = FIRST_LOCK_SECONDS * 2 ** min(failures - FREE_FAILURES, 10)
    return now + timedelta(seconds=min(seconds, LONGEST_LOCK_SECONDS))


def _check_identity(identity: str | None) -> str | None:
    """`ISSUER|SUBJECT`, or `ISSUER|mailto:ADDRESS` for who is known by a verified address."""
    if identity is None:
        return None
    issuer, _, subject = identity.partition("|")
    if not issuer.startswith(("https://", "http://")) or not subject.strip() or len(identity) > 500:
        raise LedgerError("An OIDC identity is ISSUER|SUBJECT or ISSUER|mailto:ADDRESS, with the issuer's full URL.")
    return f"{issuer}|{subject.casefold() if subject.startswith('mailto:') else subject}"


def _refuse_taken(connection: sa.Connection, row: dict[str, Any]) -> None:
    if _row(connection, row["name"]) is not None:
        raise LedgerError(f"There is a user {row['name']} already, if perhaps in another spelling or disabled.")
    taken = sa.select(users.c.name).where(users.c.oidc_identity == row["oidc_identity"])
    if row["oidc_identity"] is not None and connection.execute(taken).first() is not None:
        raise LedgerError("This OIDC identity belongs to another user already.")


def _keep_an_operator(connection: sa.Connection, row: Any) -> None:
    others = sa.select(users.c.roles).where(users.c.user_id != row["user_id"], users.c.disabled_at.is_(None))
    is_operator = OPERATOR in row["roles"].split() and row["disabled_at"] is None
    if is_operator and not any(OPERATOR in roles.split() for roles in connection.execute(others).scalars()):
        raise LedgerError(f"{row['name']} is the last operator. Make somebody else an operator first.")


def _row(connection: sa.Connection, name: str) -> Any:
    return connection.execute(sa.select(users).where(users.c.name_key == person_key(name))).mappings().first()


def _require(connection: sa.Connection, name: str) -> Any:
    row = _row(connection, name)
    if row is None:
        raise UnknownRecordError("There is no user of that name. `fine-tune users list` shows them.")
    return row


def _change(connection: sa.Connection, row: Any, **values: Any) -> None:
    connection.execute(users.update().where(users.c.user_id == row["user_id"]).values(**values))


def _user(row: Any) -> User:
    names = ("user_id", "name", "created_at", "disabled_at", "oidc_identity", "locked_until")
    roles, labels = (tuple((row[name] or "").split()) for name in ("roles", "labels"))
    plain = {name: row[name] for name in names}
    return User(**plain, roles=roles, has_password=row["password_hash"] is not None, labels=labels)
