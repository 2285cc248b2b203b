"""`fine-tune users`: the first operator, sign-in links and passwords of operators. Operators manage all other users on the desk.

A password is never an argument: the shell history and the process list would keep it.
"""

import sys
from contextlib import closing
from datetime import UTC, datetime

import click
from rich.console import Console

from fine_tune_assets.cli.identity import operating_system_user
from fine_tune_assets.cli.output import json_option, show_message, show_rows
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.line_names import name_line
from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.core.permissions import ROLES, Action, may
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.people.sessions import LINK_MINUTES, LINK_PATH, issue_link
from fine_tune_assets.ledger.people.users import (
    FIRST_USER,
    OPERATOR,
    User,
    create_user,
    list_users,
    set_password,
)

FIRST_ROLES = ("reviewer", "operator")
"""Enough to ask, review and add users. `approver` is omitted: an operator grants it to a person by name."""
LINK_NOTE = f"valid once, for {LINK_MINUTES} minutes; for a new one, run `fine-tune users link`"


class UserCommandError(FineTuneError):
    """The command is for operators, or for an installation without one."""


class LinkError(UserCommandError):
    """No user exists to create a link for."""


def create_link(settings: Settings, name: str | None = None) -> str:
    """The URL of a one-time link for the operator `name`; without a name for the user `demo`, created if no users exist.

    Raises LinkError if there are other users and no name is given, UserCommandError for anybody who is not an operator.
    """
    now = datetime.now(UTC)
    with closing(open_ledger(settings)) as ledger:
        if name is not None:
            _require_operator(ledger, name)
        token = issue_link(ledger, name or _first_user(ledger, now), now=now, by=operating_system_user())
    return f"{settings.desk_page_url(LINK_PATH)}#{token}"


def print_link(settings: Settings, console: Console) -> None:
    """Print a sign-in link; if the installation has its own users, only the address of the desk."""
    try:
        lines = [create_link(settings), f"  ({name_line(LINK_NOTE)})"]
    except LinkError:
        lines = [f"{settings.desk_page_url('')}  (sign in with your own user)"]
    console.print()
    for line in (f"Open the first page  {lines[0]}", *lines[1:], ""):
        console.print(line, markup=False, highlight=False, soft_wrap=True)  # no line breaks, so that it can be copied


def _first_user(ledger: Ledger, now: datetime) -> str:
    users = list_users(ledger)
    if not users:
        create_user(
            ledger,
            FIRST_USER,
            FIRST_ROLES,
            password=None,
            oidc_identity=None,
            now=now,
            by=operating_system_user(),
            can_use_link=True,
        )
    elif not any(user.name == FIRST_USER and user.is_enabled for user in users):
        raise LinkError("This installation has its own users. Name one: `fine-tune users link NAME`.")
    return FIRST_USER


@click.group()
def users() -> None:
    """Add and reset operators, list users."""


@users.command("add")
@click.argument("name")
@click.option("--role", "roles", multiple=True, type=click.Choice(ROLES), help="Further role; repeatable.")
@click.option("--oidc", "identity", metavar="ISSUER|SUBJECT", help="OIDC identity instead of a password.")
def add(name: str, roles: tuple[str, ...], identity: str | None) -> None:
    """Add the first operator.

    Refused once an operator exists: operators add users on the desk. The user `demo` doesn't count. The password is prompted
    for, or read from standard input.
    """
    with closing(open_ledger(load_settings())) as ledger:
        known = [user.name for user in list_operators(ledger) if user.name != FIRST_USER]
        if known:
            raise UserCommandError(
                f"This installation has an operator: {', '.join(known)}. Operators add users on the desk, on the page Users."
            )
        user = create_user(
            ledger,
            name,
            tuple(dict.fromkeys((OPERATOR, *roles))),
            password=None if identity else _read_new_password(),
            oidc_identity=identity,
            now=datetime.now(UTC),
            by=operating_system_user(),
        )
    click.echo(f"Added {user.name} with the roles {', '.join(user.roles)}.")


def list_operators(ledger: Ledger) -> list[User]:
    """Enabled users who may add others."""
    return [user for user in list_users(ledger) if user.is_enabled and may(user.roles, Action.MANAGE_USERS)]


def _require_operator(ledger: Ledger, name: str) -> None:
    """Otherwise, anyone who runs commands could sign in as a reviewer. Raises UserCommandError."""
    if not any(is_same_person(user.name, name) for user in list_operators(ledger)):
        raise UserCommandError(
            f"{name} is not an enabled operator. An operator resets the passwords of others on the desk, on the page Users."
        )


@users.command("list")
@json_option
def list_command(is_json: bool) -> None:
    """List users with roles, sign-in and state."""
    now = datetime.now(UTC)
    with closing(open_ledger(load_settings())) as ledger:
        found = list_users(ledger)
    rows = [
        {
            "name": user.name,
            "roles": user.roles,
            "sign_in": "password" if user.has_password else "OIDC" if user.oidc_identity else "link",
            "state": _state(user, now),
            "labels": user.labels,
        }
        for user in found
    ]
    headers = {"name": "name", "roles": "roles", "sign_in": "sign-in", "state": "state", "labels": "labels"}
    show_rows(rows, headers, is_json=is_json, empty="No users yet. Run `fine-tune users add NAME`.")


@users.command()
@click.argument("name", required=False)
def link(name: str | None) -> None:
    """Print an operator's one-time sign-in link.

    Without NAME: for the user `demo`, created if no users exist.
    """
    click.echo(create_link(load_settings(), name))
    show_message(f"({LINK_NOTE})", is_error=True)


def _state(user: User, now: datetime) -> str:
    if user.disabled_at is not None:
        return f"disabled {user.disabled_at:%Y-%m-%d}"
    if user.locked_until is not None and now < user.locked_until:
        return f"locked until {user.locked_until:%H:%M} UTC"
    return "enabled"


@users.command()
@click.argument("name")
def reset_password(name: str) -> None:
    """Set an operator's new password.

    Also unlocks the operator and ends all their sessions. The password is prompted for, or read from standard input.
    """
    with closing(open_ledger(load_settings())) as ledger:
        _require_operator(ledger, name)
        set_password(ledger, name, _read_new_password(), by=operating_system_user())
    click.echo(f"{name} has a new password.")


def _read_new_password() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")
