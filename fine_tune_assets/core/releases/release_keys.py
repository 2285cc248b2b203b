"""The pair of keys that this installation signs releases with: on the curve P-256, as PEM.

Owns making the pair, and saying what is wrong with one, by the rules of `keys` for any pair. Another pair than that of
verdicts, which is Ed25519: model signing knows the curves P-256, P-384 and P-521 only.
"""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.files import write_bytes
from fine_tune_assets.core.fingerprints import fingerprint_bytes, short
from fine_tune_assets.core.keys import (
    create_private_file,
    keep_public_half,
    load_public_key,
    public_key_file,
    public_pem,
    read_private_file,
    require_private_half,
)

KEY = "releases"
"""Name of the pair: `keys/releases.pem`, for its user only, and `keys/releases.pub`."""
IMPORTED = "imported"
"""Folder of the public keys of imported releases, one a release: `keys/imported/<release id>.pub`."""
CURVES = ("secp256r1", "secp384r1", "secp521r1")


def private_key_file(keys: Path) -> Path:
    return keys / f"{KEY}.pem"


def ensure_signing_key(keys: Path) -> Path:
    """The public key of the pair, which is made on first use.

    Raises SettingsError if the private key is lost, can be read by others, or is another one than the public key beside it.
    """
    private, public = private_key_file(keys), public_key_file(keys, KEY)
    require_private_half(private, public)
    if not private.exists():
        pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        create_private_file(private, pem)
    keep_public_half(private, public, public_pem(_read_private(private).public_key()))
    return public


def _read_private(path: Path) -> EllipticCurvePrivateKey:
    pem = read_private_file(path)
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"There is no private key in {path} ({type(error).__name__}).") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise SettingsError(f"The private key in {path} is not of an elliptic curve.")
    return key


def release_key_fingerprint(public_key: Path) -> str:
    """By which people compare keys: SHA-256 of the PEM, which a signature names too. Raises SettingsError."""
    key = load_public_key(public_key)
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise SettingsError(f"The public key in {public_key} is not one that releases are signed with (P-256).")
    return fingerprint_bytes(public_pem(key))


def imported_key_file(keys: Path, release_id: str) -> Path:
    """The public key that proves one imported release, and no other."""
    return keys / IMPORTED / f"{release_id}.pub"


def keep_imported_key(keys: Path, release_id: str, public_key: Path) -> Path:
    """Trust the key for this release from now on. Raises SettingsError if there is no such key in the file."""
    release_key_fingerprint(public_key)
    path = imported_key_file(keys, release_id)
    write_bytes(path, public_pem(load_public_key(public_key)))
    return path


def require_imported_key(keys: Path, release_id: str, fingerprint: str) -> Path:
    """The key that the release was imported with. Raises SettingsError unless it is there and has the fingerprint that the
    ledger has on record: the file and the row must agree."""
    path = imported_key_file(keys, release_id)
    if release_key_fingerprint(path) != fingerprint:
        raise SettingsError(
            f"The key in {path} is not the one that release {release_id} was imported with ({short(fingerprint)}). Find out "
            "who changed it, then import the release again."
        )
    return path
