"""Sessions of the desk, and one-time sign-in links: random tokens of which the ledger holds only the hashes.

A token has 256 random bits, so a plain SHA-256 can't be reversed by trying candidates. A user has one link at most, and a new one
replaces it. Whoever can issue a link can open the ledger, so it grants nothing that they could not do already. What ends all
sessions of a user (a new password, being disabled) is in `users`.
"""

import secrets
import textwrap
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError
from fine_tune_assets.ledger.people.users import OPERATOR, User, find_user
from fine_tune_assets.ledger.schema import sessions, sign_in_links, users

_TOUCH_SECONDS = 60
"""How often at most a visit is written down: the ledger has one writer."""
_LABELS_OF_A_LINE = 300


@dataclass(frozen=True)
class SessionLimits:
    idle: timedelta
    """Ends after this without a click."""
    longest: timedelta
    """Ends after this whatever happens."""


@dataclass(frozen=True)
class Session:
    """Somebody who is signed in. Name, roles and the user's own labels are read anew for each request."""

    token: str
    user_id: str
    name: str
    roles: frozenset[str]
    labels: frozenset[str] = frozenset()
    """Access labels of documents: the user's own, and those of the groups that the sign-in provider named."""

    def __repr__(self) -> str:
        """Without the token: a repr ends up in logs."""
        return f"Session(name={self.name!r})"


def start_session(
    ledger: Ledger, user: User, limits: SessionLimits, *, now: datetime, how: str, labels: Collection[str] = ()
) -> str:
    """A new token for `user`; `how` it was is for the audit log. `labels`, by the provider's groups, end with the session.

    Clears away sessions that ran out.
    """
    token = secrets.token_urlsafe(32)
    row = {"token_hash": fingerprint_text(token), "user_id": user.user_id, "created_at": now, "last_seen_at": now}
    told = " ".join(sorted(labels))
    with ledger.begin() as connection:
        connection.execute(sessions.delete().where(_is_over(limits, now)))
        connection.execute(sessions.insert().values(**row, labels=told, expires_at=now + limits.longest))
        audit.append(connection, user.name, "signed in", how)
        for part in textwrap.wrap(told, _LABELS_OF_A_LINE, break_on_hyphens=False):
            audit.append(connection, user.name, "has labels by groups", part)
    return token


def find_session(
    ledger: Ledger, token: str, limits: SessionLimits, *, now: datetime, is_click: bool = True
) -> Session | None:
    """Whose token it is, or None if it is unknown, ran out, or its user is disabled. Only a click puts its end off."""
    query = (
        sa.select(
            users.c.user_id,
            users.c.name,
            users.c.roles,
            users.c.labels,
            sessions.c.labels.label("of_groups"),
            sessions.c.last_seen_at,
        )
        .join(users, users.c.user_id == sessions.c.user_id)
        .where(sessions.c.token_hash == fingerprint_text(token), users.c.disabled_at.is_(None))
        .where(sa.not_(_is_over(limits, now)))
    )
    with ledger.read() as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        return None
    if is_click and now - row["last_seen_at"] >= timedelta(seconds=_TOUCH_SECONDS):
        # An update, never an insert: a session that was ended meanwhile stays ended.
        seen = sessions.update().where(sessions.c.token_hash == fingerprint_text(token)).values(last_seen_at=now)
        with ledger.begin() as connection:
            connection.execute(seen)
    labels = frozenset(f"{row['labels'] or ''} {row['of_groups'] or ''}".split())
    return Session(token, row["user_id"], row["name"], frozenset(row["roles"].split()), labels)


def end_session(ledger: Ledger, session: Session) -> None:
    with ledger.begin() as connection:
        connection.execute(sessions.delete().where(sessions.c.token_hash == fingerprint_text(session.token)))
        audit.append(connection, session.name, "signed out", "desk")


def _is_over(limits: SessionLimits, now: datetime) -> sa.ColumnElement[bool]:
    return sa.or_(sessions.c.expires_at <= now, sessions.c.last_seen_at <= now - limits.idle)


LINK_MINUTES = 15
"""Minutes that a link is valid."""


def issue_link(ledger: Ledger, name: str, *, now: datetime) -> str:
    """The token of a new link for the user `name`. Raises UnknownRecordError, and LedgerError for a disabled user."""
    user = find_user(ledger, name)
    if not user.is_enabled:
        raise LedgerError(f"{user.name} is disabled. To let them in again: `fine-tune users enable {user.name!r}`.")
    token = secrets.token_urlsafe(32)
    row = {"token_hash": fingerprint_text(token), "user_id": user.user_id}
    with ledger.begin() as connection:
        connection.execute(sign_in_links.delete().where(sign_in_links.c.user_id == user.user_id))
        connection.execute(sign_in_links.insert().values(**row, expires_at=now + timedelta(minutes=LINK_MINUTES)))
        audit.append(connection, OPERATOR, "issued a sign-in link", f"user {user.name}")
    return token


def use_link(ledger: Ledger, token: str, *, now: datetime) -> User | None:
    """The user that the link is for, and the link is gone. None if it is unknown, used, expired or of a disabled user."""
    of_token = sign_in_links.c.token_hash == fingerprint_text(token)
    query = (
        sa.select(users.c.name)
        .join(sign_in_links, sign_in_links.c.user_id == users.c.user_id)
        .where(of_token, sign_in_links.c.expires_at > now, users.c.disabled_at.is_(None))
    )
    # `begin` lets one writer in at a time: of two that come at once the second finds nothing.
    with ledger.begin() as connection:
        name = connection.execute(query).scalar()
        connection.execute(sign_in_links.delete().where(sa.or_(of_token, sign_in_links.c.expires_at <= now)))
    return None if name is None else find_user(ledger, name)
