"""`fine-tune keys`: API keys of the gateway, and the key pair that signs releases."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from sqlite3 import DatabaseError

import click
from sqlalchemy.exc import SQLAlchemyError

from fine_tune_assets.cli.identity import operating_system_user
from fine_tune_assets.cli.output import json_option, show_rows
from fine_tune_assets.core.errors import FineTuneError, summarize_exception
from fine_tune_assets.core.line_names import MAIN_LINE
from fine_tune_assets.core.releases.release_keys import ensure_signing_key, release_key_fingerprint
from fine_tune_assets.core.settings import Settings, list_lines, load_settings, select_line
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.ledger_errors import UnknownRecordError
from fine_tune_assets.ledger.people.api_keys import (
    ApiKey,
    KeyLimits,
    accept_key,
    copy_secret,
    create_key,
    is_known_key,
    list_keys,
    revoke_key,
    rotate_key,
)


@click.group()
def keys() -> None:
    """Manage API keys and the signing key."""


@keys.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=("chat",),
    show_default=True,
    help="Scope of the key; repeatable.",
)
@click.option("--days", type=click.IntRange(min=1), help="Days until the key expires; default: never.")
@click.option("--requests-per-minute", type=click.IntRange(min=1), help="Limit; above it: status 429.")
@click.option("--tokens-per-day", type=click.IntRange(min=1), help="Limit per UTC day, prompts and answers.")
@click.option("--open-requests", type=click.IntRange(min=1), help="Simultaneous chat requests; above it: 429.")
@click.option("--share", type=click.IntRange(min=1, max=100), help="Weight of its share of engine time.")
@click.option("--user", "owner", metavar="NAME", help="Desk user to whom the key belongs.")
def create(
    name: str,
    scopes: tuple[str, ...],
    days: int | None,
    requests_per_minute: int | None,
    tokens_per_day: int | None,
    open_requests: int | None,
    share: int | None,
    owner: str | None,
) -> None:
    """Create a key and print it once.

    Only a hash of the key is stored. Scopes: chat, correct, embed, metrics, system_prompt, raw_completions, on_behalf_of,
    on_behalf_of_any_label, and label:NAME for documents with an access label. Corrections sent with a key belong to its user.
    """
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    limits = KeyLimits(requests_per_minute, tokens_per_day, open_requests, share)
    new = create_key(
        open_ledger(load_settings()), name, scopes, expires_at, limits=limits, by=operating_system_user(), owner=owner
    )
    click.echo(f"Key {new.key_id} for {name}, shown only once:", err=True)
    click.echo(new.secret)


@keys.command("accept")
@click.argument("key_id")
@click.option(
    "--scope", "scopes", multiple=True, default=("chat",), show_default=True, help="Scope in this line; repeatable."
)
@click.option("--user", "owner", metavar="NAME", help="Desk user of this line to whom it belongs.")
def accept(key_id: str, scopes: tuple[str, ...], owner: str | None) -> None:
    """Accept a key of another product line.

    The application then reaches both models with one key. Its limits and expiry are copied; its scopes are given here. Rotating
    and revoking the key apply to every line that accepts it.
    """
    lines = _find_other_lines(key_id)
    if not lines:
        raise UnknownRecordError(
            f"No other product line has the API key {key_id}. To list a line's keys: `fine-tune keys list`"
        )
    with closing(open_ledger(load_settings())) as ledger, closing(open_ledger(lines[0])) as source:
        accept_key(ledger, source, key_id, scopes, by=operating_system_user(), owner=owner)
    click.echo(f"Key {key_id} is accepted, with the scopes {', '.join(scopes)}.")


def _find_other_lines(key_id: str) -> list[Settings]:
    """The other product lines that have this key. A line that can't be opened is reported."""
    settings, found = load_settings(), list[Settings]()
    for name in sorted({"", *list_lines(settings)} - {settings.line}):
        try:
            line = select_line(settings.installation, name)
            with closing(open_ledger(line)) as ledger:
                if is_known_key(ledger, key_id):
                    found.append(line)
        except (FineTuneError, SQLAlchemyError, DatabaseError) as error:
            text = str(error) if isinstance(error, FineTuneError) else summarize_exception(error)
            click.echo(f"Product line {name or MAIN_LINE} was not searched for the key: {text}", err=True)
    return found


@keys.command("rotate")
@click.argument("key_id")
@click.option(
    "--grace",
    "grace_hours",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    help="Hours for which the old secret still works.",
)
def rotate(key_id: str, grace_hours: float) -> None:
    """Replace a secret and print it once.

    Id, name, scopes, limits and expiry stay the same.
    """
    by = operating_system_user()
    with closing(open_ledger(load_settings())) as ledger:
        new = rotate_key(ledger, key_id, timedelta(hours=grace_hours), by)
        click.echo(
            f"Key {key_id}, shown only once; the previous secret works for {grace_hours:g} more hours:", err=True
        )
        click.echo(new.secret)
        for line in _find_other_lines(key_id):
            with closing(open_ledger(line)) as other:
                copy_secret(other, ledger, key_id, by=by)


@keys.command("list")
@json_option
def list_command(is_json: bool) -> None:
    """List keys with scopes and state."""
    now = datetime.now(UTC)
    rows = [
        {
            "key_id": key.key_id,
            "name": key.name,
            "scopes": key.scopes,
            "state": _state(key, now),
            "requests_per_minute": key.requests_per_minute,
            "tokens_per_day": key.tokens_per_day,
            "open_requests": key.open_requests,
            "share": key.share or 1,
            "user": key.owner,
        }
        for key in list_keys(open_ledger(load_settings()))
    ]
    headers = {
        "key_id": "key",
        "name": "name",
        "scopes": "scopes",
        "state": "state",
        "requests_per_minute": "requests/min",
        "tokens_per_day": "tokens/day",
        "share": "share",
        "user": "user",
    }
    show_rows(rows, headers, is_json=is_json, empty="There are no keys. Run `fine-tune keys create NAME`.")


def _state(holder: ApiKey, now: datetime) -> str:
    if holder.revoked_at is not None:
        return f"revoked {holder.revoked_at:%Y-%m-%d}"
    if holder.expires_at is None:
        return "valid"
    word = "expired" if now >= holder.expires_at else "valid until"
    return f"{word} {holder.expires_at:%Y-%m-%d}"


@keys.command("revoke")
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """Revoke a key, effective immediately.

    Applies to every product line that accepts it.
    """
    by = operating_system_user()
    with closing(open_ledger(load_settings())) as ledger:
        revoke_key(ledger, key_id, by)
    for line in _find_other_lines(key_id):
        with closing(open_ledger(line)) as other:
            revoke_key(other, key_id, by)
    click.echo(f"Key {key_id} is revoked.")


@keys.command("signing")
def signing() -> None:
    """Print the public key that verifies releases.

    Creates the key pair if there is none.
    """
    public_key = ensure_signing_key(load_settings().layout.keys)
    click.echo(f"{public_key}")
    click.echo(f"fingerprint {release_key_fingerprint(public_key)}")
