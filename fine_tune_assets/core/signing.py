"""Signatures of this installation: Ed25519, a private key that only its user can read, and a public key for everybody.

Owns making the pair, signing bytes and checking a signature, and the rules for any pair of keys: made on first use, a lost
private half not replaced in silence. Does not know what is signed.

A signature is 64 raw bytes, so that `openssl pkeyutl -verify -pubin -inkey NAME.pub -rawin -in FILE -sigfile FILE.sig` checks
it without this package.
"""

from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from fine_tune_assets.core.errors import GateClosedError, SettingsError
from fine_tune_assets.core.files import write_bytes
from fine_tune_assets.core.fingerprints import fingerprint_bytes
from fine_tune_assets.core.keys import read_or_create_key


class SignatureError(GateClosedError):
    """What was signed is not what is there, or somebody else signed it."""


def public_key_file(folder: Path, name: str) -> Path:
    """Where the public key lies, as PEM."""
    return folder / f"{name}.pub"


def require_private_half(private: Path, public: Path) -> None:
    """Raise SettingsError if it is lost: a new pair would make everything that was signed before look forged."""
    if public.exists() and not private.exists():
        raise SettingsError(
            f"The key file {private.name} is missing, and {public.name} is there. Restore it from the backup; or keep "
            f"{public.name} elsewhere to verify what was signed before, and a new pair is made."
        )


def keep_public_half(private: Path, public: Path, pem: bytes) -> None:
    """Write it where it is not there. Raises SettingsError if it is another one than that of the private half."""
    if not public.exists():
        write_bytes(public, pem)
    if public.read_bytes() != pem:
        raise SettingsError(f"{public.name} does not belong to {private.name}. Restore both from the same backup.")


def public_pem(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def load_public_key(path: Path) -> PublicKeyTypes:
    """Of any kind. Raises SettingsError if there is none in the file."""
    try:
        return load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(f"There is no public key in {path} ({type(error).__name__}).") from error


def sign(folder: Path, name: str, content: bytes) -> bytes:
    """Sign with the key `name`, which is made on first use.

    Raises SettingsError if the private key is lost or is another one than the public key beside it.
    """
    private, public = folder / f"{name}.key", public_key_file(folder, name)
    require_private_half(private, public)
    key = Ed25519PrivateKey.from_private_bytes(read_or_create_key(folder, name))
    keep_public_half(private, public, public_pem(key.public_key()))
    return key.sign(content)


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Raises SettingsError if there is no Ed25519 public key in the file."""
    key = load_public_key(path)
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(f"The public key in {path} is not an Ed25519 key.")
    return key


def key_fingerprint(key: Ed25519PublicKey) -> str:
    """By which people compare keys: SHA-256 of its 32 bytes."""
    return fingerprint_bytes(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def require_signed(key: Ed25519PublicKey, content: bytes, signature: bytes, what: str) -> None:
    """Raise SignatureError unless exactly these bytes were signed with the private half of `key`."""
    try:
        key.verify(signature, content)
    except InvalidSignature as error:
        raise SignatureError(
            f"The signature on {what} does not hold: it was changed, or signed by another key."
        ) from error
