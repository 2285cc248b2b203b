"""Sessions of the desk and one-time sign-in links: random tokens that the ledger stores only as hashes.

A token has 256 random bits, so a plain SHA-256 can't be reversed by trying candidates. A user has at most one link; a new one
replaces it. Issuing a link requires access to the ledger, so it grants no further rights. `users` ends all sessions of a user
whose password changes or who is disabled.
"""

import secrets
import textwrap
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.ledger_tables import sessions, sign_in_links, users
from fine_tune_assets.ledger.people.users import OPERATOR, User, find_user, find_user_by_id
from fine_tune_assets.ledger.seals import select_sealed

_TOUCH_SECONDS = 60
"""Minimum seconds between updates of a session's last visit, because the ledger has one writer."""
_LABELS_MAX_CHARACTERS = 300


@dataclass(frozen=True)
class SessionLimits:
    idle_timeout: timedelta
    """Ends after this time without a request."""
    max_lifetime: timedelta
    """Ends after this time in any case."""


@dataclass(frozen=True)
class Session:
    """A signed-in user. Name, roles and the user's own labels are read again for each request."""

    token: str
    user_id: str
    name: str
    roles: frozenset[str]
    labels: frozenset[str] = frozenset()
    """Access labels: the user's own and the labels of their groups at the sign-in provider."""

    def __repr__(self) -> str:
        """Omits the token, because a repr can end up in logs."""
        return f"Session(name={self.name!r})"


def start_session(
    ledger: Ledger, user: User, limits: SessionLimits, *, now: datetime, method: str, labels: Collection[str] = ()
) -> str:
    """A new session for `user`; `method` is recorded in the audit log. `labels` from the provider's groups end with the session.

    Also deletes expired sessions.
    """
    token = secrets.token_urlsafe(32)
    row = {"token_hash": fingerprint_text(token), "user_id": user.user_id, "created_at": now, "last_seen_at": now}
    group_labels = " ".join(sorted(labels))
    with ledger.begin() as connection:
        connection.execute(sessions.delete().where(_is_expired(limits, now)))
        connection.execute(sessions.insert().values(**row, labels=group_labels, expires_at=now + limits.max_lifetime))
        audit.append(connection, user.name, "signed in", method)
        for part in textwrap.wrap(group_labels, _LABELS_MAX_CHARACTERS, break_on_hyphens=False):
            audit.append(connection, user.name, "received labels from groups", part)
    return token


def find_session(
    ledger: Ledger, token: str, limits: SessionLimits, *, now: datetime, is_user_action: bool = True
) -> Session | None:
    """The session of a token, or None if the token is unknown or expired or the user is disabled. Only a click extends it."""
    # Everything is taken from verified rows, times too: SQLite compares them as text.
    with ledger.read() as connection:
        found = select_sealed(connection, sa.select(sessions).where(sessions.c.token_hash == fingerprint_text(token)))
        if not found or found[0]["expires_at"] <= now or found[0]["last_seen_at"] <= now - limits.idle_timeout:
            return None
        row = select_sealed(connection, sa.select(users).where(users.c.user_id == found[0]["user_id"]))[0]
        if row["disabled_at"] is not None:
            return None
    if is_user_action and now - found[0]["last_seen_at"] >= timedelta(seconds=_TOUCH_SECONDS):
        # An update, not an insert: a session that ended meanwhile must stay ended.
        update = sessions.update().where(sessions.c.token_hash == fingerprint_text(token)).values(last_seen_at=now)
        with ledger.begin() as connection:
            connection.execute(update)
    labels = frozenset(f"{row['labels'] or ''} {found[0]['labels'] or ''}".split())
    return Session(token, row["user_id"], row["name"], frozenset(row["roles"].split()), labels)


def end_session(ledger: Ledger, session: Session) -> None:
    with ledger.begin() as connection:
        connection.execute(sessions.delete().where(sessions.c.token_hash == fingerprint_text(session.token)))
        audit.append(connection, session.name, "signed out", "desk")


def _is_expired(limits: SessionLimits, now: datetime) -> sa.ColumnElement[bool]:
    return sa.or_(sessions.c.expires_at <= now, sessions.c.last_seen_at <= now - limits.idle_timeout)


LINK_MINUTES = 15
"""Minutes that a link is valid."""
LINK_PATH = "/sign-in/link"
"""Of the desk; the token follows after `#`."""


def issue_link(ledger: Ledger, name: str, *, now: datetime, by: str = OPERATOR) -> str:
    """The token of a new link for the user. Raises UnknownRecordError, and LedgerError for a disabled user."""
    user = find_user(ledger, name)
    if not user.is_enabled:
        raise LedgerError(f"{user.name} is disabled. An operator enables users on the desk, on the page Users.")
    token = secrets.token_urlsafe(32)
    row = {"token_hash": fingerprint_text(token), "user_id": user.user_id}
    with ledger.begin() as connection:
        connection.execute(sign_in_links.delete().where(sign_in_links.c.user_id == user.user_id))
        connection.execute(sign_in_links.insert().values(**row, expires_at=now + timedelta(minutes=LINK_MINUTES)))
        audit.append(connection, by, "issued a sign-in link", f"user {user.name}")
    return token


def redeem_link(ledger: Ledger, token: str, *, now: datetime) -> User | None:
    """Use up a link and return its user; None if it is unknown, used, expired or for a disabled user."""
    of_token = sign_in_links.c.token_hash == fingerprint_text(token)
    # `begin` serializes writers: of two simultaneous redemptions, the second finds nothing.
    with ledger.begin() as connection:
        links = select_sealed(connection, sa.select(sign_in_links).where(of_token))
        connection.execute(sign_in_links.delete().where(sa.or_(of_token, sign_in_links.c.expires_at <= now)))
        if not links or links[0]["expires_at"] <= now:
            return None
        user = find_user_by_id(connection, links[0]["user_id"])
    return user if user.is_enabled else None
