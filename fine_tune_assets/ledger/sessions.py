"""Sessions of the desk: a random token in the browser, its hash in the ledger.

Owns starting, finding and ending them, and both kinds of expiry. The token has 256 random bits, so a plain SHA-256 can't
be reversed by trying candidates. What ends all sessions of a user (a new password, being disabled) is in `users`.
"""

import secrets
import textwrap
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.ledger import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import sessions, users
from fine_tune_assets.ledger.users import User

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
