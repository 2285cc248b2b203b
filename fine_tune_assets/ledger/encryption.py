"""Encrypts ledger columns that can contain identifiers or credentials: corrections, marks and engine keys.

The cipher is AES-256-GCM; HKDF-SHA-256 derives a key for each purpose from the installation's key.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fine_tune_assets.ledger.ledger_errors import LedgerError

KEY_NAME = "ledger"
"""Name for `core.keys.read_or_create_key`: the one key that encrypts everything in the ledger."""
_NONCE_BYTES = 12
_VERSION = b"\x01"


def derive_key(key: bytes, purpose: str) -> bytes:
    """A 32-byte key for one purpose."""
    return HKDF(SHA256(), length=32, salt=None, info=f"fine-tune-assets/{purpose}/1".encode()).derive(key)


def encrypt(key: bytes, text: str, context: str) -> bytes:
    """Encrypt `text`; it decrypts only with the same `context`, so a ciphertext can't be moved to another row or column."""
    nonce = os.urandom(_NONCE_BYTES)
    return _VERSION + nonce + AESGCM(key).encrypt(nonce, text.encode("utf-8"), context.encode())


def decrypt(key: bytes, ciphertext: bytes, context: str) -> str:
    """Decrypt a ciphertext. Raises LedgerError for a wrong key or changed bytes."""
    nonce, sealed = ciphertext[1 : 1 + _NONCE_BYTES], ciphertext[1 + _NONCE_BYTES :]
    try:
        if ciphertext[:1] != _VERSION:
            raise InvalidTag
        return AESGCM(key).decrypt(nonce, sealed, context.encode()).decode("utf-8")
    except InvalidTag as error:
        raise LedgerError(
            f"Cannot decrypt {context}: the key file does not match, or the row was changed. Restore the key file "
            "from a backup."
        ) from error
