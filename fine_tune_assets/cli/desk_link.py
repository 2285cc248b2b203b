"""`fine-tune desk link`: a one-time link that signs one user in to the desk.

Owns who gets one before there are users, and the words around it. Whoever can run this can open the ledger and read the keys of
this installation, so a link grants nothing new.
"""

from contextlib import closing
from datetime import UTC, datetime

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.desk.sign_in_pages import LINK_PATH
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.sign_in_links import LINK_MINUTES, issue_link
from fine_tune_assets.ledger.users import create_user, list_users

FIRST_USER = "demo"
FIRST_ROLES = ("reviewer", "operator")
"""Enough for the first page, asking, reviewing and adding users. Not `approver`: an operator gives that to a person by name."""
LINK_WORDS = f"valid once, for {LINK_MINUTES} minutes; a new one: `.venv/bin/fine-tune desk link`"


class LinkError(FineTuneError):
    """Nobody to make a link for."""


def link_for(settings: Settings, name: str | None = None) -> str:
    """The address of a new link for the user `name`, or for the first user, who is made if there is none.

    Raises LinkError where there are users and none is named, LedgerError for an unknown or disabled one.
    """
    now = datetime.now(UTC)
    with closing(open_ledger(settings.database_url)) as ledger:
        token = issue_link(ledger, name or _first_user(ledger, now), now=now)
    return f"{settings.desk_address}{LINK_PATH}#{token}"


def _first_user(ledger: Ledger, now: datetime) -> str:
    users = list_users(ledger)
    if not users:
        create_user(ledger, FIRST_USER, FIRST_ROLES, password=None, oidc_identity=None, now=now, is_by_link=True)
    elif not any(user.name == FIRST_USER and user.is_enabled for user in users):
        raise LinkError("This installation has its own users. Name one of them: `fine-tune desk link NAME`.")
    return FIRST_USER
