"""Bundles that a stranger could have made from signed parts: each one is refused, also by a key that signed it."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, SECP521R1, generate_private_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey

from fine_tune_assets.core.releases.signature_bundles import BundleError, sign_files, verify_files

FILES = {"weights/model.gguf": "a1" * 32, "manifest.json": "b2" * 32}
KEY = generate_private_key(SECP256R1())


@pytest.mark.parametrize("curve", [SECP256R1, SECP384R1, SECP521R1])
def test_what_was_signed_is_read_back(curve: Callable[[], Any]) -> None:
    key = generate_private_key(curve())
    assert verify_files(sign_files(FILES, "r", key), key.public_key()) == FILES


def _signed(statement: Any, payload_type: str = "application/vnd.in-toto+json") -> dict[str, Any]:
    """An envelope with a valid signature over any statement."""
    envelope = Envelope(statement if isinstance(statement, bytes) else json.dumps(statement).encode(), payload_type, {})
    public = SSlibKey.from_crypto(KEY.public_key())
    envelope.sign(CryptoSigner(KEY, SSlibKey("", public.keytype, public.scheme, public.keyval)))
    return envelope.to_dict()


BUNDLE: dict[str, Any] = json.loads(sign_files(FILES, "r", KEY))
STATEMENT: dict[str, Any] = json.loads(base64.b64decode(BUNDLE["dsseEnvelope"]["payload"]))
RESOURCES: list[dict[str, str]] = STATEMENT["predicate"]["resources"]
SIGNED: dict[str, dict[str, Any]] = {
    "another statement": _signed(STATEMENT | {"_type": "https://in-toto.io/Statement/v0.1"}),
    "another predicate": _signed(STATEMENT | {"predicateType": "https://slsa.dev/provenance/v1"}),
    "another payload": _signed(STATEMENT, "application/json"),
    "a file twice": _signed(
        STATEMENT | {"predicate": {"resources": [*RESOURCES, RESOURCES[0] | {"digest": "c3" * 32}]}}
    ),
    "no resources": _signed(STATEMENT | {"predicate": {}}),
    "resources without names": _signed(STATEMENT | {"predicate": {"resources": [{}]}}),
    "a name that is a list": _signed(STATEMENT | {"predicate": {"resources": [RESOURCES[0] | {"name": []}]}}),
    "no object": _signed([]),
    "no JSON": _signed(b"\xff"),
    "endless nesting": _signed(b"[" * 500_000),
}


@pytest.mark.parametrize("name", SIGNED)
def test_a_signed_statement_of_another_kind_is_refused(name: str) -> None:
    """The key may have signed something else, and a signature never makes a damaged list readable."""
    with pytest.raises(BundleError):
        verify_files(json.dumps(BUNDLE | {"dsseEnvelope": SIGNED[name]}), KEY.public_key())


def _envelope(**changes: Any) -> str:
    return json.dumps(BUNDLE | {"dsseEnvelope": BUNDLE["dsseEnvelope"] | changes})


SIGNATURES: list[dict[str, str]] = BUNDLE["dsseEnvelope"]["signatures"]
OTHER: dict[str, Any] = json.loads(sign_files(FILES, "r", generate_private_key(SECP256R1())))["dsseEnvelope"]
FORGED: dict[str, str] = {
    "no signatures": _envelope(signatures=[]),
    "signature of another key": _envelope(signatures=OTHER["signatures"]),
    "empty signature": _envelope(signatures=[SIGNATURES[0] | {"sig": ""}]),
    "signature of zeros": _envelope(signatures=[SIGNATURES[0] | {"sig": base64.b64encode(bytes(72)).decode()}]),
    "signature of r=0 and s=0": _envelope(signatures=[SIGNATURES[0] | {"sig": "MAYCAQACAQA="}]),
    "twice": _envelope(signatures=SIGNATURES * 2),
    "another key's name": _envelope(signatures=[SIGNATURES[0] | {"keyid": "x"}]),
    "signature no text": _envelope(signatures=[SIGNATURES[0] | {"sig": 1}]),
    "signatures no list": _envelope(signatures=1),
    "another payload": _envelope(payload=base64.b64encode(b"{}").decode()),
    "payload no base64": _envelope(payload="***"),
    "another type": _envelope(payloadType="application/json"),
    "another bundle": json.dumps(BUNDLE | {"mediaType": "application/json"}),
    "no envelope": "{}",
    "no object": "1",
    "endless nesting": "[" * 500_000,
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_bundle_is_refused(name: str) -> None:
    with pytest.raises(BundleError):
        verify_files(FORGED[name], KEY.public_key())
