"""Encryption at rest for what may hold identifiers or opens a door: corrections and engine keys.

Owns the cipher (AES-256-GCM), how a key for one purpose is derived from the installation's key (HKDF-SHA-256), and the
name of that key's file. Does not know where the key lies.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fine_tune_assets.ledger.errors import LedgerError

KEY_NAME = "ledger"
"""Name for `core.keys.read_or_create_key`: the one key that everything in the ledger is encrypted with."""
_NONCE_BYTES = 12
_VERSION = b"\x01"


def derive_key(key: bytes, purpose: str) -> bytes:
    """A key of 32 bytes that serves one purpose only."""
    return HKDF(SHA256(), length=32, salt=None, info=f"fine-tune-assets/{purpose}/1".encode()).derive(key)


def encrypt(key: bytes, text: str, bound_to: str) -> bytes:
    """Ciphertext that only decrypts for the same `bound_to`, so that it can't be moved to another row or column."""
    nonce = os.urandom(_NONCE_BYTES)
    return _VERSION + nonce + AESGCM(key).encrypt(nonce, text.encode("utf-8"), bound_to.encode())


def decrypt(key: bytes, ciphertext: bytes, bound_to: str) -> str:
    """Raises LedgerError when the key is another one or the stored bytes were changed."""
    nonce, sealed = ciphertext[1 : 1 + _NONCE_BYTES], ciphertext[1 + _NONCE_BYTES :]
    try:
        if ciphertext[:1] != _VERSION:
            raise InvalidTag
        return AESGCM(key).decrypt(nonce, sealed, bound_to.encode()).decode("utf-8")
    except InvalidTag as error:
        raise LedgerError(
            f"{bound_to} can't be decrypted: the key file is another one, or the row was changed. "
            "Restore the key file from a backup."
        ) from error
