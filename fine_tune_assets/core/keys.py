"""Secret keys of an installation: 32 random bytes in a file that only its user can read.

Owns creating and reading them, and how any private key lies on the disk. A key that is lost can't be replaced: patient keys
change and corrections can't be read.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.hints import materialize_hint

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
