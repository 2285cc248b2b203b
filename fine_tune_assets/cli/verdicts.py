"""`fine-tune verdicts`: what the gate decided, an approver's signature on a hold, and the proof of a verdict's document.

The proof compares what the document names with what lies on this machine, and asks no ledger.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import click
import pyarrow.parquet as pq

from fine_tune_assets.core.fingerprints import fingerprint_folder, fingerprint_table, short
from fine_tune_assets.core.keys import SignatureError, public_key_file
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.records import Verdict
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.instructions.stored_sets import read_instruction_set
from fine_tune_assets.judging.verdicts.evidence import gate_of, read_evidence
from fine_tune_assets.judging.verdicts.promotion_rule import decide
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.serving.verdict_documents import DOCUMENT, KEY, prove
from fine_tune_assets.ledger.serving.verdicts import list_verdicts, sign_hold, signers_of
from fine_tune_assets.tables.catalogue import TABLES
from fine_tune_assets.tables.records import conform

_HERE, _NOT_HERE = "is what lies on this machine", "not on this machine"


def document_of(verdict_or_file: str, layout: Layout) -> Path:
    """A file, a folder that holds one, or the document of a verdict of this installation."""
    given = Path(verdict_or_file)
    if given.is_dir():
        return given / DOCUMENT
    return given if given.is_file() else layout.verdicts / verdict_or_file / DOCUMENT


def proof_lines(verdict: Verdict, layout: Layout) -> Iterator[str]:
    """What else holds. Raises SignatureError if a folder that the verdict names is here and holds something else."""
    yield f"decision: {verdict.decision}"
    yield f"follows from its figures: {_follows(verdict)}"
    yield f"adapter {short(verdict.adapter_id)}: {_adapter(verdict.adapter_id, layout)}"
    yield f"instruction set {short(verdict.instruction_set_fingerprint)}: {_set(verdict.instruction_set_fingerprint, layout)}"
    yield f"base model {short(verdict.base_fingerprint)}, incumbent {short(verdict.incumbent)}: named"
    for name, fingerprint in sorted(json.loads(verdict.evidence).get("fingerprints", {}).items()):
        if name in TABLES:
            yield f"table {name} {short(fingerprint)}: {_table(name, fingerprint, layout)}"


def _follows(verdict: Verdict) -> str:
    """The rules may have changed since: then that is said, and proves nothing against the document."""
    try:
        evidence = read_evidence(verdict.evidence)
        decided = decide(evidence, gate_of(evidence))
    except ValueError:
        return "not known: it was written by another version"
    same = (decided.decision, decided.reasons) == (verdict.decision, verdict.reasons)
    return "yes" if same else f"no: by the rules of this version it is {decided.decision}"


def _adapter(adapter_id: str, layout: Layout) -> str:
    folder = layout.adapters / short(adapter_id)
    if not folder.is_dir():
        return _NOT_HERE
    if fingerprint_folder(folder) != adapter_id:
        raise SignatureError(f"The adapter {folder.name} on this machine is not the one that the verdict is about.")
    return _HERE


def _set(fingerprint: str, layout: Layout) -> str:
    if not (layout.instruction_sets / short(fingerprint)).is_dir():
        return _NOT_HERE
    read_instruction_set(layout.instruction_sets, fingerprint)
    return _HERE


def _table(name: str, fingerprint: str, layout: Layout) -> str:
    """A table is made again for each candidate: another one is no sign of a change."""
    file = layout.table(name)
    if not file.is_file():
        return _NOT_HERE
    return _HERE if fingerprint_table(conform(pq.read_table(file), TABLES[name])) == fingerprint else "made again since"


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
