"""`fine-tune audit`: the audit log."""

import sys

import click

from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.ledger.audit import verify as verify_chain
from fine_tune_assets.ledger.database import open_ledger


@click.group()
def audit() -> None:
    """The audit log."""


@audit.command()
def verify() -> None:
    """Check that no line was changed, removed or put between others.

    Note down the newest hash somewhere else: cutting off the newest lines can only be seen by comparing it.
    """
    check = verify_chain(open_ledger(load_settings().database_url))
    if not check.is_intact:
        click.echo(f"The audit log is broken: {check.reason}. {check.lines} lines before it are sound.", err=True)
        sys.exit(1)
    click.echo(f"{check.lines} lines, an unbroken chain. Newest hash: {check.newest_hash}")
