"""`fine-tune verdicts`: what the gate decided, an approver's signature on a hold, and the proof of a verdict's document."""

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click

from fine_tune_assets.cli.verdict_proofs import document_of, proof_lines
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.records import Verdict
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.core.signing import public_key_file
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.verdict_documents import KEY, prove
from fine_tune_assets.ledger.verdicts import list_verdicts, sign_hold, signers_of

_SHOWN = 10


@click.group()
def verdicts() -> None:
    """Verdicts on candidates: list them, sign one that is on hold, and prove what one says."""


@verdicts.command("list")
@click.option("--limit", default=_SHOWN, show_default=True, type=click.IntRange(min=1), help="Verdicts to print.")
@click.option("--json", "is_json", is_flag=True, help="As a JSON array.")
def list_them(limit: int, is_json: bool) -> None:
    """List the verdicts with their reasons, the newest first."""
    with closing(open_ledger(load_settings().database_url)) as ledger:
        found = [(verdict, signers_of(ledger, verdict.verdict_id)) for verdict in list_verdicts(ledger, limit)]
    if is_json:
        click.echo(json.dumps([_as_json(*one) for one in found], indent=2))
        return
    for verdict, signers in found:
        signed = f", signed by {', '.join(signers)}" if signers else ""
        click.echo(f"{verdict.verdict_id}  {verdict.decision}{signed}  adapter {short(verdict.adapter_id)}")
        for reason in verdict.reasons:
            click.echo(f"  {reason}")
    if not found:
        click.echo("There is no verdict yet.")


def _as_json(verdict: Verdict, signers: Sequence[str]) -> dict[str, object]:
    return {**vars(verdict), "evidence": json.loads(verdict.evidence), "signed_by": list(signers)}


@verdicts.command()
@click.argument("verdict_id")
@click.option("--approver", required=True, help="Who takes the responsibility.")
@click.option("--reason", required=True, help="Why; without report text.")
def sign(verdict_id: str, approver: str, reason: str) -> None:
    """Sign a verdict that is on hold: the candidate may then be merged, released and served."""
    with closing(open_ledger(load_settings().database_url)) as ledger:
        sign_hold(ledger, verdict_id, approver, reason)
    click.echo(f"{verdict_id} signed by {approver}")


@verdicts.command()
@click.argument("verdict_or_file")
@click.option(
    "--public-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Whose signature it must be; this installation's if absent.",
)
def verify(verdict_or_file: str, public_key: Path | None) -> None:
    """Prove the document of a verdict: its signature, its id and what it names. Needs no ledger."""
    layout = load_settings().layout
    document = document_of(verdict_or_file, layout)
    proven = prove(document, public_key or public_key_file(layout.keys, KEY))
    lines = list(proof_lines(proven.verdict, layout))
    click.echo(f"{proven.verdict.verdict_id}: signed by the key {proven.key_fingerprint}")
    click.echo("id: the fingerprint of what it says")
    for line in lines:
        click.echo(line)
