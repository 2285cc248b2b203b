"""`fine-tune audit`: the audit log and the log of requests."""

import sys

import click

from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.ledger.audit.audit import verify as verify_chain
from fine_tune_assets.ledger.audit.requests import verify_requests
from fine_tune_assets.ledger.database import open_ledger


@click.group()
def audit() -> None:
    """The audit log."""


@audit.command()
def verify() -> None:
    """Check that no line was changed, removed or put between others, in the audit log and in the log of requests.

    Note down the newest hashes somewhere else: cutting off the newest lines can only be seen by comparing them.
    """
    ledger = open_ledger(load_settings().database_url)
    checks = {"audit log": verify_chain(ledger), "log of requests": verify_requests(ledger)}
    for name, check in checks.items():
        if check.is_intact:
            words = f"{check.lines} lines, an unbroken chain. Newest hash: {check.newest_hash}"
            click.echo(words if name == "audit log" else f"{name}: {words}")
        else:
            click.echo(f"The {name} is broken: {check.reason}. {check.lines} lines before it are sound.", err=True)
    if not all(check.is_intact for check in checks.values()):
        sys.exit(1)
