"""Keys of an installation: secret keys that only its user can read, and Ed25519 key pairs for signatures.

Keys are created on first use. A lost private key is never replaced silently. A lost secret key can't be replaced at all: subject
keys would change and corrections would be unreadable.

A signature is 64 raw bytes, so that `openssl pkeyutl -verify -pubin -inkey NAME.pub -rawin -in FILE -sigfile FILE.sig` verifies
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
SUBJECTS_KEY = "subjects"
"""Name of the key from which subject keys are derived."""


def read_or_create_key(folder: Path, name: str) -> bytes:
    """Return the key `name`, creating it on first use.

    Raises SettingsError if the file is not 32 bytes long or can be read by others.
    """
    path = key_file(folder, name)
    if not path.exists():
        create_private_file(path, secrets.token_bytes(KEY_BYTES))
    return read_key(path)


def key_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.key"


def require_key(folder: Path, name: str, derived_files: Path) -> None:
    """Raise SettingsError if the key `name` is lost: it is missing, but files derived with it exist."""
    # Look for files first: a process that creates the key now creates it before the files.
    is_used = any(path.is_file() for path in derived_files.rglob("*"))
    path = key_file(folder, name)
    if is_used and not path.exists():
        raise SettingsError(
            f"The key file {path} is missing, but the files in {derived_files} depend on it. Restore the key from the "
            f"backup. Without a backup, remove {derived_files}: every batch is then read again with a new key. "
            + materialize_hint("reports")
        )


def create_private_file(path: Path, content: bytes) -> None:
    """Create a file with mode 0600 atomically. Keeps an existing file: of concurrent processes, one wins."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_private_file(path: Path) -> bytes:
    """Raises SettingsError if others can read it."""
    if path.stat().st_mode & 0o077:
        raise SettingsError(f"Key file {path} can be read by other users. Run: chmod 600 {path}")
    return path.read_bytes()


def read_secret(path: str, setting: str) -> str:
    """The text of the file that a setting names; empty without one.

    Raises SettingsError if the file is unreadable, or readable by others.
    """
    if not path:
        return ""
    try:
        return read_private_file(Path(path)).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The file {path} of {setting} is unreadable: {type(error).__name__}.") from error


def read_key(path: Path) -> bytes:
    """The key in a file. Raises SettingsError if others can read it, or it is not 32 bytes long."""
    key = read_private_file(path)
    if len(key) != KEY_BYTES:
        raise SettingsError(f"Key file {path} has {len(key)} bytes instead of {KEY_BYTES}. Restore it from a backup.")
    return key


class SignatureError(GateClosedError):
    """A signature does not match the content or the key."""


def public_key_file(folder: Path, name: str) -> Path:
    """Path of the public key in PEM format."""
    return folder / f"{name}.pub"


def require_private_key(private: Path, public: Path) -> None:
    """Raise SettingsError if the private key is lost: with a new pair, all earlier signatures would look forged."""
    if public.exists() and not private.exists():
        raise SettingsError(
            f"The key file {private.name} is missing, but {public.name} exists. Restore {private.name} from the backup. To "
            f"start with a new pair, move {public.name} elsewhere and keep it to verify earlier signatures."
        )


def store_public_key(private: Path, public: Path, pem: bytes) -> None:
    """Write the public key if it is missing. Raises SettingsError if the existing one does not match the private key."""
    if not public.exists():
        write_bytes(public, pem)
    if public.read_bytes() != pem:
        raise SettingsError(f"{public.name} does not belong to {private.name}. Restore both from the same backup.")


def public_pem(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def load_public_key(path: Path) -> PublicKeyTypes:
    """A public key of any type. Raises SettingsError if the file contains none."""
    try:
        return load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} contains no public key ({type(error).__name__}).") from error


def sign(folder: Path, name: str, content: bytes) -> bytes:
    """Sign with the key `name`, which is created on first use.

    Raises SettingsError if the private key is lost or does not match the public key.
    """
    private, public = folder / f"{name}.key", public_key_file(folder, name)
    require_private_key(private, public)
    key = Ed25519PrivateKey.from_private_bytes(read_or_create_key(folder, name))
    store_public_key(private, public, public_pem(key.public_key()))
    return key.sign(content)


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Raises SettingsError if the file contains no Ed25519 public key."""
    key = load_public_key(path)
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(f"The public key in {path} is not an Ed25519 key.")
    return key


def key_fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 of the key's 32 bytes, by which people compare keys."""
    return fingerprint_bytes(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def verify_signature(key: Ed25519PublicKey, content: bytes, signature: bytes, what: str) -> None:
    """Raise SignatureError unless exactly these bytes were signed with the private key of `key`."""
    try:
        key.verify(signature, content)
    except InvalidSignature as error:
        raise SignatureError(
            f"The signature of {what} is invalid: the content was changed, or another key signed it."
        ) from error
