"""`fine-tune audit`: verify the ledger: the audit log, the request log and the seals of its rows."""

import sys
from contextlib import closing

import click

from fine_tune_assets.cli.output import json_option, show_json
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.ledger.audit.audit_log import verify_entries
from fine_tune_assets.ledger.audit.request_log import verify_requests
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.seals import find_broken_seals


@click.group()
def audit() -> None:
    """Verify the ledger: its logs and its rows."""


@audit.command()
@json_option
def verify(is_json: bool) -> None:
    """Verify both logs, and the seals of rows.

    Detects entries that were changed, removed or inserted in the audit log and the request log, and rows that decide, such as
    users, keys, approvals and deployments, that were added or changed outside this installation. Rows that were deleted, or put
    back to an earlier state, are not detected.
    """
    with closing(open_ledger(load_settings())) as ledger:
        checks = {"audit log": verify_entries(ledger), "request log": verify_requests(ledger)}
        with ledger.read() as connection:
            broken = find_broken_seals(connection)
    if is_json:
        logs = {name: {"is_intact": check.is_intact, **vars(check)} for name, check in checks.items()}
        show_json({**logs, "broken_seals": [vars(one) for one in broken]})
    for name, check in () if is_json else checks.items():
        if check.is_intact:
            click.echo(f"{name}: {check.entry_count} entries, intact. Newest hash: {check.newest_hash}")
        else:
            click.echo(
                f"{name}: broken: {check.reason}. The {check.entry_count} entries before it are intact.", err=True
            )
    if not is_json:
        for one in broken:
            click.echo(f"{one.table}: row {one.row} was added or changed outside this installation", err=True)
        if not broken:
            click.echo("sealed rows: intact")
    if broken or not all(check.is_intact for check in checks.values()):
        sys.exit(1)
