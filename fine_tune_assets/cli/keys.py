"""`fine-tune keys`: API keys of the gateway, and the pair that signs releases."""

from datetime import UTC, datetime, timedelta

import click

from fine_tune_assets.core.releases.release_keys import ensure_signing_key, release_key_fingerprint
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.people.api_keys import (
    SCOPES,
    KeyHolder,
    KeyLimits,
    create_key,
    list_keys,
    revoke_key,
    rotate_key,
)


@click.group()
def keys() -> None:
    """API keys of the gateway, and the pair that signs releases."""


@keys.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=("chat",),
    show_default=True,
    help=f"What it may do, once for each: {', '.join(SCOPES)}, or label:NAME for documents with that access label.",
)
@click.option("--days", type=click.IntRange(min=1), help="Days until it expires; never without this.")
@click.option("--requests-per-minute", type=click.IntRange(min=1), help="More are refused with 429.")
@click.option("--tokens-per-day", type=click.IntRange(min=1), help="Of questions and answers together, a day of UTC.")
def create(
    name: str,
    scopes: tuple[str, ...],
    days: int | None,
    requests_per_minute: int | None,
    tokens_per_day: int | None,
) -> None:
    """Make a key for NAME and print it, once: it is kept as a hash only."""
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    limits = KeyLimits(requests_per_minute, tokens_per_day)
    new = create_key(open_ledger(load_settings().database_url), name, scopes, expires_at, limits=limits)
    click.echo(f"Key {new.key_id} for {name}, shown this once:", err=True)
    click.echo(new.secret)


@keys.command("rotate")
@click.argument("key_id")
@click.option(
    "--grace",
    "grace_hours",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    help="Hours for which the secret of before opens too.",
)
def rotate(key_id: str, grace_hours: float) -> None:
    """Give a key a new secret and print it, once. Its id, name, scopes, limits and expiry stay."""
    new = rotate_key(open_ledger(load_settings().database_url), key_id, timedelta(hours=grace_hours))
    click.echo(f"Key {key_id}, shown this once; the one of before opens for {grace_hours:g} hours:", err=True)
    click.echo(new.secret)


@keys.command("list")
def list_() -> None:
    """List keys: id, name, scopes, state. Never the secret."""
    now = datetime.now(UTC)
    for holder in list_keys(open_ledger(load_settings().database_url)):
        click.echo(
            f"{holder.key_id}  {holder.name:<24} {' '.join(holder.scopes):<14} {_state(holder, now)}{_limits(holder)}"
        )


def _state(holder: KeyHolder, now: datetime) -> str:
    if holder.revoked_at is not None:
        return f"revoked {holder.revoked_at:%Y-%m-%d}"
    if holder.expires_at is None:
        return "valid"
    word = "expired" if now >= holder.expires_at else "valid until"
    return f"{word} {holder.expires_at:%Y-%m-%d}"


def _limits(holder: KeyHolder) -> str:
    named = ((holder.requests_per_minute, "requests a minute"), (holder.tokens_per_day, "tokens a day"))
    return "".join(f", {count} {what}" for count, what in named if count is not None)


@keys.command("revoke")
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """Revoke a key: from the next request on it opens nothing."""
    revoke_key(open_ledger(load_settings().database_url), key_id)
    click.echo(f"Key {key_id} is revoked.")


@keys.command("signing")
def signing() -> None:
    """Print the public key that proves this installation's releases, and make the pair if there is none."""
    public_key = ensure_signing_key(load_settings().layout.keys)
    click.echo(f"{public_key}")
    click.echo(f"fingerprint {release_key_fingerprint(public_key)}")
