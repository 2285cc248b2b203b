"""`fine-tune users`: who may use the desk. `fine-tune desk link`: a one-time link that signs one user in.

A password is never an argument: the shell's history and the list of processes would keep it. Whoever can make a link can open the
ledger and read the keys of this installation, so a link grants nothing new.
"""

import sys
from contextlib import closing
from datetime import UTC, datetime

import click

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.desk.pages.sign_in_pages import LINK_PATH
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.people.sessions import LINK_MINUTES, issue_link
from fine_tune_assets.ledger.people.users import (
    ROLES,
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


_ROLE = click.option(
    "--role", "roles", multiple=True, required=True, type=click.Choice(ROLES), help="What the user may do; several."
)


_LABEL = click.option(
    "--label", "labels", multiple=True, help="Access label of documents that the user may see; several."
)


@click.group()
def users() -> None:
    """Users of the desk, and their roles."""


@users.command("add")
@click.argument("name")
@_ROLE
@click.option("--oidc", "identity", metavar="ISSUER|SUBJECT", help="Signs in by OIDC instead of a password.")
@_LABEL
def add(name: str, roles: tuple[str, ...], identity: str | None, labels: tuple[str, ...]) -> None:
    """Add a user. The password is asked for, or read from standard input."""
    password = None if identity else _ask_password()
    made = create_user(
        _ledger(), name, roles, password=password, oidc_identity=identity, now=datetime.now(UTC), labels=labels
    )
    click.echo(f"{made.name} may sign in as {', '.join(made.roles)}.")


@users.command("list")
def list_() -> None:
    """List users: name, roles, how they sign in, state, access labels."""
    now = datetime.now(UTC)
    for user in list_users(_ledger()):
        way = "password" if user.has_password else "OIDC" if user.oidc_identity else "link"
        labels = f" labels: {' '.join(user.labels)}" if user.labels else ""
        click.echo(f"{user.name:<32} {' '.join(user.roles):<32} {way:<9} {_state(user, now)}{labels}")


def _state(user: User, now: datetime) -> str:
    if user.disabled_at is not None:
        return f"disabled {user.disabled_at:%Y-%m-%d}"
    if user.locked_until is not None and now < user.locked_until:
        return f"locked until {user.locked_until:%H:%M} UTC"
    return "enabled"


@users.command("disable")
@click.argument("name")
def disable(name: str) -> None:
    """Sign a user out everywhere, and let nobody in under this name."""
    disable_user(_ledger(), name, now=datetime.now(UTC))
    click.echo(f"{name} is disabled.")


@users.command("enable")
@click.argument("name")
def enable(name: str) -> None:
    """Let a disabled user in again."""
    enable_user(_ledger(), name)
    click.echo(f"{name} is enabled.")


@users.command("roles")
@click.argument("name")
@_ROLE
def roles(name: str, roles: tuple[str, ...]) -> None:
    """Give a user exactly these roles."""
    set_roles(_ledger(), name, roles)
    click.echo(f"{name}: {', '.join(roles)}")


@users.command("labels")
@click.argument("name")
@_LABEL
def labels(name: str, labels: tuple[str, ...]) -> None:
    """Give a user exactly these access labels of documents; without any, only documents for everyone."""
    set_labels(_ledger(), name, labels)
    click.echo(f"{name}: {', '.join(labels) or 'no labels'}")


@users.command("reset")
@click.argument("name")
def reset(name: str) -> None:
    """Set a new password, end every session and lift a lock. It is asked for, or read from standard input."""
    set_password(_ledger(), name, _ask_password())
    click.echo(f"{name} has a new password.")


def _ask_password() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")


def _ledger() -> Ledger:
    return open_ledger(load_settings().database_url)
