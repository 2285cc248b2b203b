"""Passwords of desk users: hashed with argon2id, checked in the same time for whoever has none.

Owns what a password must be, and how many are hashed at once. Does not know users.
"""

import threading
import unicodedata
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from fine_tune_assets.ledger.errors import LedgerError

MIN_CHARACTERS = 15
"""NIST SP 800-63B-4, 3.1.1.2: a password that is the only factor has at least 15 characters."""
MAX_CHARACTERS = 256
_MIN_DIFFERENT = 5
# 64 MiB and 3 passes for each (RFC 9106, second recommended option): a flood of sign-ins must not take the memory.
_HASHER = PasswordHasher()
_AT_ONCE = threading.BoundedSemaphore(4)


def check_password(password: str, name: str) -> None:
    """Raise LedgerError, without the password, if it is too easy to guess for the user of this name."""
    normal = _normal(password)
    if not MIN_CHARACTERS <= len(normal) <= MAX_CHARACTERS:
        raise LedgerError(
            f"A password has {MIN_CHARACTERS} to {MAX_CHARACTERS} characters: take a few words. This one has {len(normal)}."
        )
    if len(set(normal.casefold())) < _MIN_DIFFERENT:
        raise LedgerError(f"A password has at least {_MIN_DIFFERENT} different characters.")
    if name.strip() and "".join(name.casefold().split()) in "".join(normal.casefold().split()):
        raise LedgerError("A password must not hold the user's name.")


def hash_password(password: str) -> str:
    with _AT_ONCE:
        return _HASHER.hash(_normal(password))


def is_right(password_hash: str | None, password: str) -> bool:
    """Whether the password belongs to the hash. Without a hash it takes the same time, and is never right."""
    if len(password) > MAX_CHARACTERS:
        password = ""
    with _AT_ONCE:
        try:
            return _HASHER.verify(password_hash or _nobodys_hash(), _normal(password)) and password_hash is not None
        except (VerificationError, InvalidHashError):
            return False


def is_outdated(password_hash: str) -> bool:
    """Whether it was made with weaker parameters than today's."""
    return _HASHER.check_needs_rehash(password_hash)


@lru_cache(maxsize=1)
def _nobodys_hash() -> str:
    return _HASHER.hash("nobody's password, never right")


def _normal(password: str) -> str:
    """The same password typed on another keyboard is the same characters."""
    return unicodedata.normalize("NFKC", password)
