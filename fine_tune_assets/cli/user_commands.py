"""`fine-tune users`: users of the desk, their roles and sign-in links.

A password is never an argument: the shell history and the process list would keep it. A sign-in link grants nothing new, because
the person who creates it can already read the ledger and the keys.
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
from fine_tune_assets.core.permissions import ROLES
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.people.sessions import LINK_MINUTES, LINK_PATH, issue_link
from fine_tune_assets.ledger.people.users import (
    User,
    create_user,
    disable_user,
    enable_user,
    list_users,
    set_labels,
    set_password,
    set_roles,
)

FIRST_USER = "demo"
FIRST_ROLES = ("reviewer", "operator")
"""Enough to ask, review and add users. `approver` is omitted: an operator grants it to a person by name."""
LINK_NOTE = f"valid once, for {LINK_MINUTES} minutes; for a new one, run `fine-tune users link`"


class LinkError(FineTuneError):
    """No user exists to create a link for."""


def create_link(settings: Settings, name: str | None = None) -> str:
    """The URL of a one-time link for the user `name`; without a name for the user `demo`, created if no users exist.

    Raises LinkError if there are other users and no name is given, LedgerError for an unknown or disabled user.
    """
    now = datetime.now(UTC)
    with closing(open_ledger(settings)) as ledger:
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


_ROLE = click.option(
    "--role", "roles", multiple=True, required=True, type=click.Choice(ROLES), help="Role; repeatable."
)


_LABEL = click.option("--label", "labels", multiple=True, help="Access label of documents; repeatable.")


@click.group()
def users() -> None:
    """Manage desk users and sign-in links."""


@users.command("add")
@click.argument("name")
@_ROLE
@click.option("--oidc", "identity", metavar="ISSUER|SUBJECT", help="OIDC identity instead of a password.")
@_LABEL
def add(name: str, roles: tuple[str, ...], identity: str | None, labels: tuple[str, ...]) -> None:
    """Add a user.

    The password is prompted for, or read from standard input.
    """
    password = None if identity else _read_new_password()
    made = create_user(
        _ledger(),
        name,
        roles,
        password=password,
        oidc_identity=identity,
        now=datetime.now(UTC),
        by=operating_system_user(),
        labels=labels,
    )
    click.echo(f"Added {made.name} with the roles {', '.join(made.roles)}.")


@users.command("list")
@json_option
def list_command(is_json: bool) -> None:
    """List users with roles, sign-in and state."""
    now = datetime.now(UTC)
    rows = [
        {
            "name": user.name,
            "roles": user.roles,
            "sign_in": "password" if user.has_password else "OIDC" if user.oidc_identity else "link",
            "state": _state(user, now),
            "labels": user.labels,
        }
        for user in list_users(_ledger())
    ]
    headers = {"name": "name", "roles": "roles", "sign_in": "sign-in", "state": "state", "labels": "labels"}
    show_rows(rows, headers, is_json=is_json, empty="No users yet. Run `fine-tune users add NAME --role ROLE`.")


@users.command()
@click.argument("name", required=False)
def link(name: str | None) -> None:
    """Print a one-time sign-in link.

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


@users.command("disable")
@click.argument("name")
def disable(name: str) -> None:
    """Disable a user and end all sessions."""
    disable_user(_ledger(), name, now=datetime.now(UTC), by=operating_system_user())
    click.echo(f"{name} is disabled.")


@users.command("enable")
@click.argument("name")
def enable(name: str) -> None:
    """Enable a disabled user."""
    enable_user(_ledger(), name, by=operating_system_user())
    click.echo(f"{name} is enabled.")


@users.command("roles")
@click.argument("name")
@_ROLE
def roles(name: str, roles: tuple[str, ...]) -> None:
    """Set the roles of a user."""
    set_roles(_ledger(), name, roles, by=operating_system_user())
    click.echo(f"{name}: {', '.join(roles)}")


@users.command("labels")
@click.argument("name")
@_LABEL
def labels(name: str, labels: tuple[str, ...]) -> None:
    """Set the access labels of a user.

    Without labels, the user sees only documents for everyone.
    """
    set_labels(_ledger(), name, labels, by=operating_system_user())
    click.echo(f"{name}: {', '.join(labels) or 'no labels'}")


@users.command()
@click.argument("name")
def reset_password(name: str) -> None:
    """Set a new password and end all sessions.

    Also unlocks the user. The password is prompted for, or read from standard input.
    """
    set_password(_ledger(), name, _read_new_password(), by=operating_system_user())
    click.echo(f"{name} has a new password.")


def _read_new_password() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")


def _ledger() -> Ledger:
    return open_ledger(load_settings())
