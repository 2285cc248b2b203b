"""Who runs a command: the operating-system user, or a user of the desk who enters a password.

A name that is only typed is never recorded as a person's.
"""

import os
import pwd
import sys
from datetime import UTC, datetime

import click

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.permissions import PERMISSIONS, Action, may
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.users import OS_PREFIX, User, sign_in


class AuthenticationError(FineTuneError):
    """The password is wrong, or the user may not do this."""


def operating_system_user() -> str:
    """`os:NAME`, by the id of this process. Environment variables such as USER are not trusted."""
    user_id = os.getuid()
    try:
        return f"{OS_PREFIX}{pwd.getpwuid(user_id).pw_name}"
    except KeyError:
        return f"{OS_PREFIX}{user_id}"


def authenticate(ledger: Ledger, name: str, action: Action) -> User:
    """The desk user with the right to this whose password is entered, or read from standard input.

    Raises AuthenticationError.
    """
    user = sign_in(ledger, name, _read_password(name), now=datetime.now(UTC), source=operating_system_user())
    if user is None:
        raise AuthenticationError(
            f"The password for {name} is wrong, or the user is unknown, disabled or locked. `fine-tune users list` shows users. "
            "A user without a password signs at the desk."
        )
    if not may(user.roles, action):
        roles = " or ".join(sorted(PERMISSIONS[action].roles))
        raise AuthenticationError(
            f"{user.name} does not have the role {roles}. Run `fine-tune users roles {user.name}`."
        )
    return user


def _read_password(name: str) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(f"Password for {name}", hide_input=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")
