"""The pair of keys that this installation signs releases with: on the curve P-256, as PEM.

Owns making the pair, and saying what is wrong with one. By the same rules as the pair of verdicts (`signing`): made on first
use, the private half for its user only, a lost one not replaced in silence. Another pair than that one, which is Ed25519: model
signing knows the curves P-256, P-384 and P-521 only.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.files import write_bytes
from fine_tune_assets.core.fingerprints import fingerprint_bytes
from fine_tune_assets.core.signing import public_key_file

KEY = "releases"
"""Name of the pair: `keys/releases.pem`, for its user only, and `keys/releases.pub`."""
CURVES = ("secp256r1", "secp384r1", "secp521r1")


def private_key_file(keys: Path) -> Path:
    return keys / f"{KEY}.pem"


def ensure_signing_key(keys: Path) -> Path:
    """The public key of the pair, which is made on first use.

    Raises SettingsError if the private key is lost, can be read by others, or is another one than the public key beside it.
    """
    private, public = private_key_file(keys), public_key_file(keys, KEY)
    if public.exists() and not private.exists():
        raise SettingsError(
            f"The key file {private.name} is missing, and {public.name} is there. Restore it from the backup; or keep "
            f"{public.name} elsewhere to verify what was signed before, and a new pair is made. Then build the release again."
        )
    if not private.exists():
        _create(private)
    own = _public_pem(_read_private(private).public_key())
    if not public.exists():
        write_bytes(public, own)
    if public.read_bytes() != own:
        raise SettingsError(f"{public.name} does not belong to {private.name}. Restore both from the same backup.")
    return public


def _create(path: Path) -> None:
    """Whole or not at all, and never over an existing one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        write_bytes(aside, pem)
        with suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _read_private(path: Path) -> EllipticCurvePrivateKey:
    if path.stat().st_mode & 0o077:
        raise SettingsError(f"Key file {path} can be read by other users. Run: chmod 600 {path}")
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"There is no private key in {path} ({type(error).__name__}).") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise SettingsError(f"The private key in {path} is not of an elliptic curve.")
    return key


def _public_pem(key: EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def release_key_fingerprint(public_key: Path) -> str:
    """By which people compare keys: SHA-256 of the PEM, which a signature names too. Raises SettingsError."""
    try:
        key = load_pem_public_key(public_key.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(f"There is no public key in {public_key} ({type(error).__name__}).") from error
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise SettingsError(f"The public key in {public_key} is not one that releases are signed with (P-256).")
    return fingerprint_bytes(_public_pem(key))
