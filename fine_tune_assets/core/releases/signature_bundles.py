"""Signed lists of files, as OpenSSF model signing 1.0 defines them: an in-toto statement in a DSSE envelope in a Sigstore bundle.

Standard tools verify them. The package `model_signing` is for tests alone: importing it imports Sigstore's client, which exists
to call services on the internet.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error as EnvelopeError
from securesystemslib.signer import CryptoSigner, SSlibKey

from fine_tune_assets.core.fingerprints import fingerprint_bytes
from fine_tune_assets.core.keys import public_pem

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://model_signing/signature/v1.0"
NO_KEY_ID = ""
"""The envelope does not name its key. The bundle does, by fingerprint."""
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError, EnvelopeError)


class BundleError(ValueError):
    """The signature is damaged, of another kind, or by another key."""


def sign_files(files: Mapping[str, str], name: str, key: EllipticCurvePrivateKey) -> str:
    """The bundle for `files`, which maps each name to its SHA-256."""
    envelope = Envelope(json.dumps(_statement(files, name), indent=2).encode(), PAYLOAD, {})
    envelope.sign(CryptoSigner(key, _envelope_key(key.public_key())))
    hint = fingerprint_bytes(public_pem(key.public_key()))
    material = {"publicKey": {"hint": hint}, "tlogEntries": []}
    return json.dumps({"mediaType": BUNDLE, "verificationMaterial": material, "dsseEnvelope": envelope.to_dict()})


def verify_files(bundle: str, key: EllipticCurvePublicKey) -> dict[str, str]:
    """File → SHA-256 of everything that the owner of `key` signed. Raises BundleError."""
    try:
        parsed = json.loads(bundle)
        envelope = Envelope.from_dict(parsed["dsseEnvelope"])
        envelope.verify([_envelope_key(key)], threshold=1)
        return _files_of(parsed["mediaType"], envelope)
    except _UNREADABLE as error:
        raise BundleError(type(error).__name__) from error


def claimed_signer(bundle: str) -> str | None:
    """The fingerprint of the key that a bundle names; None if it names none. It is not verified."""
    try:
        hint = json.loads(bundle)["verificationMaterial"]["publicKey"]["hint"]
    except _UNREADABLE:
        return None
    return hint if isinstance(hint, str) else None


def _statement(files: Mapping[str, str], name: str) -> dict[str, Any]:
    resources = [{"name": file, "algorithm": "sha256", "digest": files[file]} for file in sorted(files)]
    root = hashlib.sha256(b"".join(bytes.fromhex(each["digest"]) for each in resources)).hexdigest()
    serialization = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": root}}],
        "predicateType": PREDICATE,
        "predicate": {"serialization": serialization, "resources": resources},
    }


def _files_of(media_type: str, envelope: Envelope) -> dict[str, str]:
    statement = json.loads(envelope.payload)
    resources = statement["predicate"]["resources"]
    files = {each["name"]: each["digest"] for each in resources}
    kind = (media_type, envelope.payload_type, statement["_type"], statement["predicateType"])
    if kind != (BUNDLE, PAYLOAD, STATEMENT, PREDICATE) or len(files) != len(resources):
        raise ValueError("of another kind")
    return files


def _envelope_key(key: EllipticCurvePublicKey) -> SSlibKey:
    public_key = SSlibKey.from_crypto(key)
    return SSlibKey(NO_KEY_ID, public_key.keytype, public_key.scheme, public_key.keyval)
