"""Keys of an installation: secret ones that only its user can read, and the Ed25519 pairs that it signs with.

A key is made on first use, and a lost private half is never replaced in silence. A lost secret key can't be replaced at all:
patient keys change and corrections can't be read.

A signature is 64 raw bytes, so that `openssl pkeyutl -verify -pubin -inkey NAME.pub -rawin -in FILE -sigfile FILE.sig` checks
it without this package.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from fine_tune_assets.core.errors import GateClosedError, SettingsError, materialize_hint
from fine_tune_assets.core.files import write_bytes
from fine_tune_assets.core.fingerprints import fingerprint_bytes

KEY_BYTES = 32
PATIENTS_KEY = "patients"
"""Name of the key that patients' keys are made with."""


def read_or_create_key(folder: Path, name: str) -> bytes:
    """Return the key `name`, creating it on first use.

    Raises SettingsError if the file is not 32 bytes long or can be read by others.
    """
    path = folder / f"{name}.key"
    if not path.exists():
        create_private_file(path, secrets.token_bytes(KEY_BYTES))
    return read_key(path)


def require_key(folder: Path, name: str, made_with_it: Path) -> None:
    """Raise SettingsError if the key `name` is lost: files made with it are there, and the key is not."""
    # In this order: whoever makes the key now makes it before the files.
    is_used = any(path.is_file() for path in made_with_it.rglob("*"))
    path = folder / f"{name}.key"
    if is_used and not path.exists():
        raise SettingsError(
            f"The key file {path} is missing, and what lies in {made_with_it} was made with it. Restore the key from the "
            f"backup. If there is none: remove {made_with_it}; every batch is then read again under a new key. "
            + materialize_hint("reports")
        )


def create_private_file(path: Path, content: bytes) -> None:
    """For its user only; whole or not at all, and never over an existing one: of several processes that try at once, one wins."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def read_private_file(path: Path) -> bytes:
    """Raises SettingsError if others can read it."""
    if path.stat().st_mode & 0o077:
        raise SettingsError(f"Key file {path} can be read by other users. Run: chmod 600 {path}")
    return path.read_bytes()


def read_secret(path: str, setting: str) -> str:
    """The text of the file that a setting names; empty without one. Raises SettingsError if it is unreadable, or readable by
    others."""
    if not path:
        return ""
    try:
        return read_private_file(Path(path)).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{setting} {path} can't be read: {type(error).__name__}.") from error


def read_key(path: Path) -> bytes:
    """The key in a file. Raises SettingsError if others can read it, or it is not 32 bytes long."""
    key = read_private_file(path)
    if len(key) != KEY_BYTES:
        raise SettingsError(f"Key file {path} holds {len(key)} bytes instead of {KEY_BYTES}. Restore it from a backup.")
    return key


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
