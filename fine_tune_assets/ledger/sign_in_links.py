"""One-time sign-in links of the desk: a random token that signs one user in once, within minutes.

Owns issuing and using them. The ledger keeps a hash of the token, which has 256 random bits; a user has one link at most, and a
new one replaces it. Whoever can issue one can open the ledger, so it grants nothing that they could not do already.
"""

import secrets
from datetime import datetime, timedelta

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.ledger import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError
from fine_tune_assets.ledger.schema import sign_in_links, users
from fine_tune_assets.ledger.users import OPERATOR, User, find_user

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
