"""The signed document of a verdict, which an auditor can verify without the ledger.

verdicts/<verdict_id>/verdict.json   decision, reasons, metrics and fingerprints, as canonical JSON
                      verdict.sig    Ed25519 signature of its bytes
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import FineTuneError, materialize_hint
from fine_tune_assets.core.files import atomic_folder, write_bytes
from fine_tune_assets.core.keys import (
    SignatureError,
    key_fingerprint,
    public_key_file,
    read_public_key,
    sign,
    verify_signature,
)
from fine_tune_assets.core.shared_records import Verdict
from fine_tune_assets.ledger.serving.verdicts import is_intact

KEY_NAME = "verdicts"
"""Name of the key pair."""
DOCUMENT = "verdict.json"
SIGNATURE = "verdict.sig"


class VerdictDocumentError(FineTuneError):
    """The document is missing or is not a verdict."""


@dataclass(frozen=True)
class VerifiedVerdict:
    verdict: Verdict
    key_fingerprint: str
    """Fingerprint of the public key that verified it."""


def write_document(folder: Path, keys: Path, verdict: Verdict) -> Path:
    """Sign the verdict's document and store it below `folder`, unless it exists; return its path."""
    values = {**vars(verdict), "evidence": json.loads(verdict.evidence)}
    content = json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=1).encode() + b"\n"
    signature = sign(keys, KEY_NAME, content)
    with atomic_folder(folder / verdict.verdict_id) as temporary:
        write_bytes(temporary / DOCUMENT, content)
        write_bytes(temporary / SIGNATURE, signature)
    return folder / verdict.verdict_id / DOCUMENT


def verify_document(document: Path, public_key: Path) -> VerifiedVerdict:
    """The verdict of a document whose signature and id are valid. Needs neither ledger nor private key.

    Raises VerdictDocumentError if it can't be read, SignatureError if anything in it was changed.
    """
    try:
        content, signature = document.read_bytes(), document.with_name(SIGNATURE).read_bytes()
    except OSError as error:
        raise VerdictDocumentError(
            f"Cannot read {error.filename}. The check needs both {DOCUMENT} and {SIGNATURE}."
        ) from error
    key = read_public_key(public_key)
    verify_signature(key, content, signature, document.name)
    verdict = _verdict(content, document)
    if not is_intact(verdict):
        raise SignatureError(f"The id in {document.name} does not match its content.")
    return VerifiedVerdict(verdict, key_fingerprint(key))


def _verdict(content: bytes, document: Path) -> Verdict:
    try:
        values: Mapping[str, Any] = json.loads(content)
        evidence = json.dumps(values["evidence"], sort_keys=True, ensure_ascii=False, allow_nan=False)
        return Verdict(**{**values, "reasons": tuple(values["reasons"]), "evidence": evidence})
    except (ValueError, TypeError, KeyError) as error:
        raise VerdictDocumentError(f"{document.name} is not a verdict document ({type(error).__name__}).") from error


def require_document(folder: Path, keys: Path, verdict: Verdict) -> None:
    """Raise SignatureError unless this installation signed exactly this verdict.

    The ledger may be on another machine: write access to it, without the keys, must not suffice to make a verdict.
    """
    document = folder / verdict.verdict_id / DOCUMENT
    try:
        is_same = verify_document(document, public_key_file(keys, KEY_NAME)).verdict == verdict
    except FineTuneError as error:
        raise SignatureError(
            f"Verdict {verdict.verdict_id} has no valid document of this installation. {error} "
            f"{materialize_hint('promotion_verdicts')}"
        ) from error
    if not is_same:
        raise SignatureError(
            f"Verdict {verdict.verdict_id} in the ledger differs from the signed document. Find out who changed it. "
            + materialize_hint("promotion_verdicts")
        )
