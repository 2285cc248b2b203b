"""`fine-tune verdicts`: list and show verdicts, verify a signed document. Approvers sign on the desk.

`verify` compares what the document names with what is on this machine. It needs no ledger.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import click
import pyarrow.parquet as pq

from fine_tune_assets.cli.output import json_option, show_json, show_message, show_rows
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_folder, fingerprint_table, short
from fine_tune_assets.core.keys import SignatureError, public_key_file
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.core.shared_records import Verdict
from fine_tune_assets.instructions.stored_sets import read_instruction_set
from fine_tune_assets.judging.verdicts.evidence import read_evidence, read_gate_settings
from fine_tune_assets.judging.verdicts.promotion_rule import decide_promotion
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.serving.verdict_documents import DOCUMENT, KEY_NAME, verify_document
from fine_tune_assets.ledger.serving.verdict_records import find_verdict
from fine_tune_assets.ledger.serving.verdicts import list_signers, list_verdicts
from fine_tune_assets.tables.asset_tables import TABLES
from fine_tune_assets.tables.record_classes import conform

_HERE, _NOT_HERE = "same on this machine", "not on this machine"


def document_of(verdict_or_file: str, layout: Layout) -> Path:
    """The path of a document, from a file, a folder that has one, or a verdict id of this installation."""
    given = Path(verdict_or_file)
    if given.is_dir():
        return given / DOCUMENT
    return given if given.is_file() else layout.verdicts / verdict_or_file / DOCUMENT


def proof_lines(verdict: Verdict, layout: Layout) -> Iterator[str]:
    """One line for each thing that the document names. Raises SignatureError if a folder on this machine has other content."""
    yield f"decision: {verdict.decision}"
    yield f"decision follows from its metrics: {_follows(verdict)}"
    yield f"adapter {short(verdict.adapter_id)}: {_adapter(verdict.adapter_id, layout)}"
    yield f"instruction set {short(verdict.instruction_set_fingerprint)}: {_set(verdict.instruction_set_fingerprint, layout)}"
    yield f"base model {short(verdict.base_fingerprint)}, incumbent {short(verdict.incumbent)}: named"
    for name, fingerprint in sorted(json.loads(verdict.evidence).get("fingerprints", {}).items()):
        if name in TABLES:
            yield f"table {name} {short(fingerprint)}: {_table(name, fingerprint, layout)}"


def _follows(verdict: Verdict) -> str:
    """A different answer may also mean that the rules have changed since."""
    try:
        evidence = read_evidence(verdict.evidence)
        decided = decide_promotion(evidence, read_gate_settings(evidence))
    except ValueError:
        return "unknown: written by another version"
    same = (decided.decision, decided.reasons) == (verdict.decision, verdict.reasons)
    return "yes" if same else f"no: this version decides {decided.decision}"


def _adapter(adapter_id: str, layout: Layout) -> str:
    folder = layout.adapters / short(adapter_id)
    if not folder.is_dir():
        return _NOT_HERE
    if fingerprint_folder(folder) != adapter_id:
        raise SignatureError(f"The adapter {folder.name} on this machine differs from the one in the verdict.")
    return _HERE


def _set(fingerprint: str, layout: Layout) -> str:
    if not (layout.instruction_sets / short(fingerprint)).is_dir():
        return _NOT_HERE
    read_instruction_set(layout.instruction_sets, fingerprint)
    return _HERE


def _table(name: str, fingerprint: str, layout: Layout) -> str:
    """Tables are rewritten for each candidate, so a different fingerprint does not mean tampering."""
    file = layout.table(name)
    if not file.is_file():
        return _NOT_HERE
    return _HERE if fingerprint_table(conform(pq.read_table(file), TABLES[name])) == fingerprint else "rewritten since"


_DEFAULT_LIMIT = 10


@click.group()
def verdicts() -> None:
    """Show and verify verdicts."""


@verdicts.command("list")
@click.option(
    "--limit", default=_DEFAULT_LIMIT, show_default=True, type=click.IntRange(min=1), help="Number of verdicts."
)
@json_option
def list_command(limit: int, is_json: bool) -> None:
    """List verdicts and reasons, newest first."""
    with closing(open_ledger(load_settings())) as ledger:
        found = [(verdict, list_signers(ledger, verdict.verdict_id)) for verdict in list_verdicts(ledger, limit)]
    if is_json:
        show_json([_as_json(*one) for one in found])
        return
    for verdict, signers in found:
        click.echo(_headline(verdict, signers))
        for reason in verdict.reasons:
            show_message(f"  {reason}")
    if not found:
        show_message("There are no verdicts yet. Run `fine-tune materialize +promotion_verdicts`.")


@verdicts.command()
@click.argument("verdict_id")
@json_option
def show(verdict_id: str, is_json: bool) -> None:
    """Show one verdict with every metric."""
    with closing(open_ledger(load_settings())) as ledger:
        record = find_verdict(ledger, verdict_id)
        signers = list_signers(ledger, verdict_id)
    if record is None:
        raise FineTuneError(f"There is no verdict {verdict_id}. `fine-tune verdicts list` shows them.")
    verdict = record.verdict
    if is_json:
        show_json(_as_json(verdict, signers))
        return
    click.echo(_headline(verdict, signers))
    for reason in verdict.reasons:
        show_message(f"  {reason}")
    try:
        metrics = read_evidence(verdict.evidence).metrics
    except ValueError:
        click.echo("Another version of this software wrote its metrics. `--json` prints them as they are.")
        return
    columns = (
        "family",
        "name",
        "standing",
        "items",
        "candidate",
        "incumbent",
        "difference",
        "low",
        "high",
        "margin",
        "outcome",
    )
    rows = [{name: _rounded(getattr(metric, name)) for name in columns} for metric in metrics]
    show_rows(rows, {name: name for name in columns}, is_json=False)


def _headline(verdict: Verdict, signers: Sequence[str]) -> str:
    signed = f", signed by {', '.join(signers)}" if signers else ""
    return f"{verdict.verdict_id}  {verdict.decision}{signed}  adapter {short(verdict.adapter_id)}"


def _rounded(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value


def _as_json(verdict: Verdict, signers: Sequence[str]) -> dict[str, object]:
    return {**vars(verdict), "evidence": json.loads(verdict.evidence), "signed_by": list(signers)}


@verdicts.command()
@click.argument("verdict_or_file")
@click.option(
    "--public-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Expected key; default: this installation's.",
)
def verify(verdict_or_file: str, public_key: Path | None) -> None:
    """Verify the signed document of a verdict.

    Needs no ledger.
    """
    layout = load_settings().layout
    document = document_of(verdict_or_file, layout)
    proven = verify_document(document, public_key or public_key_file(layout.keys, KEY_NAME))
    lines = list(proof_lines(proven.verdict, layout))
    click.echo(f"{proven.verdict.verdict_id}: signed by the key {proven.key_fingerprint}")
    click.echo("id: matches the content")
    for line in lines:
        click.echo(line)
