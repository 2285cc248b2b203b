"""Hashes and checks passwords of desk users with argon2id; checking takes the same time for users without a password."""

import os
import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from fine_tune_assets.ledger.ledger_errors import LedgerError

MIN_CHARACTERS = 15
"""NIST SP 800-63B-4, 3.1.1.2: a password that is the only factor has at least 15 characters."""
MAX_CHARACTERS = 256
_MIN_DISTINCT_CHARACTERS = 5
# 64 MiB and 3 passes per hash (RFC 9106, second recommended option), so one runs at a time.
_HASHER = PasswordHasher()
_NICENESS = 10


def _lower_priority() -> None:
    """Of this thread and of those that a hash starts: on Linux, each thread has its own priority."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


_EXECUTOR = ThreadPoolExecutor(1, "hash", initializer=_lower_priority)
"""Only hashes run here: other work at low priority would hold the interpreter's lock for long."""


def check_password(password: str, name: str) -> None:
    """Raise LedgerError if the password is too easy to guess for this user. The message omits the password."""
    normal = _normalize(password)
    if not MIN_CHARACTERS <= len(normal) <= MAX_CHARACTERS:
        raise LedgerError(
            f"The password must have {MIN_CHARACTERS} to {MAX_CHARACTERS} characters; it has {len(normal)}. Several "
            "words make a good one."
        )
    if len(set(normal.casefold())) < _MIN_DISTINCT_CHARACTERS:
        raise LedgerError(f"The password must have at least {_MIN_DISTINCT_CHARACTERS} different characters.")
    if name.strip() and "".join(name.casefold().split()) in "".join(normal.casefold().split()):
        raise LedgerError("The password must not contain the user's name.")


def hash_password(password: str) -> str:
    return _EXECUTOR.submit(_HASHER.hash, _normalize(password)).result()


def is_correct_password(password_hash: str | None, password: str) -> bool:
    """Whether the password matches the hash. Without a hash it takes the same time and returns False."""
    if len(password) > MAX_CHARACTERS:
        password = ""
    try:
        checked = _EXECUTOR.submit(_HASHER.verify, password_hash or _dummy_hash(), _normalize(password))
        return checked.result() and password_hash is not None
    except (VerificationError, InvalidHashError):
        return False


def is_outdated(password_hash: str) -> bool:
    """Whether the hash was made with outdated parameters."""
    return _HASHER.check_needs_rehash(password_hash)


@lru_cache(maxsize=1)
def _dummy_hash() -> str:
    return _HASHER.hash("placeholder for users without a password")


def _normalize(password: str) -> str:
    """NFKC-normalize, so that all keyboards produce the same characters."""
    return unicodedata.normalize("NFKC", password)
