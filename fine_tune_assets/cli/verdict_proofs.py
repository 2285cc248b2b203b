"""What `fine-tune verdicts verify` proves of a document, line by line.

Owns finding the document and comparing what it names with what lies on this machine. Asks no ledger.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from fine_tune_assets.core.fingerprints import fingerprint_folder, fingerprint_table, short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.records import Verdict
from fine_tune_assets.core.signing import SignatureError
from fine_tune_assets.core.tables import TABLES, conform
from fine_tune_assets.instructions.storing import read_instruction_set
from fine_tune_assets.judging.evidence import gate_of, read_evidence
from fine_tune_assets.judging.verdicts import decide
from fine_tune_assets.ledger.verdict_documents import DOCUMENT

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
