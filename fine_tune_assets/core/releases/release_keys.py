"""The key pair that signs releases (P-256, PEM), and the public keys of imported releases.

Verdicts use a separate Ed25519 pair, because model signing supports only the curves P-256, P-384 and P-521.
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
    load_public_key,
    public_key_file,
    public_pem,
    read_private_file,
    require_private_key,
    store_public_key,
)

KEY = "releases"
"""Name of the pair: `keys/releases.pem`, readable by its user only, and `keys/releases.pub`."""
IMPORTED = "imported"
"""Folder with a public key for each imported release: `keys/imported/<release id>.pub`."""
CURVES = ("secp256r1", "secp384r1", "secp521r1")


def private_key_file(keys: Path) -> Path:
    return keys / f"{KEY}.pem"


def ensure_signing_key(keys: Path) -> Path:
    """The path of the public key. Creates the pair on first use.

    Raises SettingsError if the private key is lost, readable by others, or does not match the public key.
    """
    private, public = private_key_file(keys), public_key_file(keys, KEY)
    require_private_key(private, public)
    if not private.exists():
        pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        create_private_file(private, pem)
    store_public_key(private, public, public_pem(read_private_key(private).public_key()))
    return public


def read_private_key(path: Path) -> EllipticCurvePrivateKey:
    pem = read_private_file(path)
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{path} contains no private key ({type(error).__name__}).") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise SettingsError(f"The private key in {path} is not an elliptic-curve key.")
    return key


def read_release_key(public_key: Path) -> EllipticCurvePublicKey:
    """Raises SettingsError if the file contains no key that can sign releases."""
    key = load_public_key(public_key)
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise SettingsError(f"The public key in {public_key} is not a release key (P-256).")
    return key


def release_key_fingerprint(public_key: Path) -> str:
    """SHA-256 of the PEM, by which people compare keys and which a signature contains. Raises SettingsError."""
    return fingerprint_bytes(public_pem(read_release_key(public_key)))


def imported_key_file(keys: Path, release_id: str) -> Path:
    """The public key that is trusted for this imported release only."""
    return keys / IMPORTED / f"{release_id}.pub"


def store_imported_key(keys: Path, release_id: str, public_key: Path) -> Path:
    """Trust the key for this release. Raises SettingsError if the file contains no release key."""
    release_key_fingerprint(public_key)
    path = imported_key_file(keys, release_id)
    write_bytes(path, public_pem(load_public_key(public_key)))
    return path


def require_imported_key(keys: Path, release_id: str, fingerprint: str) -> Path:
    """The key that the release was imported with. Raises SettingsError unless it has the fingerprint in the ledger."""
    path = imported_key_file(keys, release_id)
    if release_key_fingerprint(path) != fingerprint:
        raise SettingsError(
            f"The key in {path} is not the one that release {release_id} was imported with ({short(fingerprint)}). Find out "
            "who changed it, then run `fine-tune releases import` again."
        )
    return path
