"""The signed document of a verdict: what an auditor takes away, and can prove without the ledger.

Owns the files and their check:

    verdicts/<verdict_id>/verdict.json   decision, reasons, every figure and every fingerprint, as canonical JSON
                          verdict.sig    Ed25519 signature of its bytes
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import FineTuneError, materialize_hint
from fine_tune_assets.core.files import folder_written_aside, write_bytes
from fine_tune_assets.core.keys import (
    SignatureError,
    key_fingerprint,
    public_key_file,
    read_public_key,
    require_signed,
    sign,
)
from fine_tune_assets.core.records import Verdict
from fine_tune_assets.ledger.serving.verdicts import is_whole

KEY = "verdicts"
"""Name of the pair of keys."""
DOCUMENT = "verdict.json"
SIGNATURE = "verdict.sig"


class VerdictDocumentError(FineTuneError):
    """There is no such document, or it is none."""


@dataclass(frozen=True)
class ProvenVerdict:
    verdict: Verdict
    key_fingerprint: str
    """Of the public key that proved it."""


def write_document(folder: Path, keys: Path, verdict: Verdict) -> Path:
    """Sign the verdict's document and keep it below `folder`; one that is there already stays. Returns its path."""
    values = {**vars(verdict), "evidence": json.loads(verdict.evidence)}
    content = json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=1).encode() + b"\n"
    signature = sign(keys, KEY, content)
    with folder_written_aside(folder / verdict.verdict_id) as aside:
        write_bytes(aside / DOCUMENT, content)
        write_bytes(aside / SIGNATURE, signature)
    return folder / verdict.verdict_id / DOCUMENT


def prove(document: Path, public_key: Path) -> ProvenVerdict:
    """The verdict of a document, if its signature and its id hold. Needs neither ledger nor private key.

    Raises VerdictDocumentError if it can't be read, SignatureError if anything in it was changed.
    """
    try:
        content, signature = document.read_bytes(), document.with_name(SIGNATURE).read_bytes()
    except OSError as error:
        raise VerdictDocumentError(
            f"{error.filename} can't be read. Both {DOCUMENT} and {SIGNATURE} are needed."
        ) from error
    key = read_public_key(public_key)
    require_signed(key, content, signature, document.name)
    verdict = _verdict(content, document)
    if not is_whole(verdict):
        raise SignatureError(f"{document.name} does not carry its own fingerprint as its id.")
    return ProvenVerdict(verdict, key_fingerprint(key))


def _verdict(content: bytes, document: Path) -> Verdict:
    try:
        values: Mapping[str, Any] = json.loads(content)
        evidence = json.dumps(values["evidence"], sort_keys=True, ensure_ascii=False, allow_nan=False)
        return Verdict(**{**values, "reasons": tuple(values["reasons"]), "evidence": evidence})
    except (ValueError, TypeError, KeyError) as error:
        raise VerdictDocumentError(
            f"{document.name} is not the document of a verdict ({type(error).__name__})."
        ) from error


def require_document(folder: Path, keys: Path, verdict: Verdict) -> None:
    """Raise SignatureError unless this installation signed exactly this verdict.

    The ledger may lie on another machine: who can write to it, and not to the keys, makes no verdict.
    """
    document = folder / verdict.verdict_id / DOCUMENT
    try:
        is_same = prove(document, public_key_file(keys, KEY)).verdict == verdict
    except FineTuneError as error:
        raise SignatureError(
            f"Verdict {verdict.verdict_id} is not proven by a document of this installation. {error} "
            f"{materialize_hint('promotion_verdicts')}"
        ) from error
    if not is_same:
        raise SignatureError(
            f"Verdict {verdict.verdict_id} in the ledger is not what was signed. Find out who changed it. "
            + materialize_hint("promotion_verdicts")
        )
