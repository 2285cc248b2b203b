"""`fine-tune verdicts`: what the gate decided, and an approver's signature on a verdict that is on hold."""

import click

from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.verdicts import list_verdicts, sign_hold, signers_of

_SHOWN = 10


@click.group()
def verdicts() -> None:
    """Verdicts on candidates: list them, and sign one that is on hold."""


@verdicts.command("list")
@click.option("--limit", default=_SHOWN, show_default=True, type=click.IntRange(min=1), help="Verdicts to print.")
def list_them(limit: int) -> None:
    """List the verdicts with their reasons, the newest first."""
    ledger = open_ledger(load_settings().database_url)
    try:
        found = list_verdicts(ledger, limit)
        for verdict in found:
            signers = signers_of(ledger, verdict.verdict_id)
            signed = f", signed by {', '.join(signers)}" if signers else ""
            click.echo(f"{verdict.verdict_id}  {verdict.decision}{signed}  adapter {short(verdict.adapter_id)}")
            for reason in verdict.reasons:
                click.echo(f"  {reason}")
    finally:
        ledger.close()
    if not found:
        click.echo("There is no verdict yet.")


@verdicts.command()
@click.argument("verdict_id")
@click.option("--approver", required=True, help="Who takes the responsibility.")
@click.option("--reason", required=True, help="Why; without report text.")
def sign(verdict_id: str, approver: str, reason: str) -> None:
    """Sign a verdict that is on hold: the candidate may then be merged, released and served."""
    ledger = open_ledger(load_settings().database_url)
    try:
        sign_hold(ledger, verdict_id, approver, reason)
    finally:
        ledger.close()
    click.echo(f"{verdict_id} signed by {approver}")
