"""What `fine-tune verdicts verify` proves of a document, line by line.

Owns finding the document and comparing what it names with what lies on this machine. Asks no ledger.
"""

from collections.abc import Iterator
from pathlib import Path

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_folder, short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.records import Verdict
from fine_tune_assets.core.signing import SignatureError
from fine_tune_assets.judging.evidence import gate_of, read_evidence
from fine_tune_assets.judging.verdicts import decide
from fine_tune_assets.ledger.verdict_documents import DOCUMENT


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
    for what, fingerprint, root in (
        ("adapter", verdict.adapter_id, layout.adapters),
        ("base model", verdict.base_fingerprint, layout.base_models),
    ):
        yield f"{what} {short(fingerprint)}: {_folder_state(what, root, fingerprint)}"
    yield f"instruction set {short(verdict.instruction_set_fingerprint)}: named"
    yield f"incumbent {short(verdict.incumbent)}: named"


def _follows(verdict: Verdict) -> str:
    """The rules may have changed since: then that is said, and proves nothing against the document."""
    try:
        evidence = read_evidence(verdict.evidence)
        decided = decide(evidence, gate_of(evidence))
    except ValueError:
        return "not known: it was written by another version"
    same = (decided.decision, decided.reasons) == (verdict.decision, verdict.reasons)
    return "yes" if same else f"no: by the rules of this version it is {decided.decision}"


def _folder_state(what: str, root: Path, fingerprint: str) -> str:
    folder = root / short(fingerprint)
    if not folder.is_dir():
        return "not on this machine"
    try:
        found = fingerprint_folder(folder)
    except OSError as error:
        raise FineTuneError(f"The {what} {folder.name} can't be read ({type(error).__name__}).") from error
    if found != fingerprint:
        raise SignatureError(f"The {what} {folder.name} on this machine is not the one that the verdict is about.")
    return "is what lies on this machine"
