"""Keys of the subjects of the sample that comes with the repository: public, so that every installation makes the same of it.

Owns the public key and how a subject's key shows that it was made with it. Which reports are the sample's is in
`reports/sample_reports`. Everything else is keyed with the installation's secret.
"""

from typing import Final

from fine_tune_assets.core.fingerprints import fingerprint_text, keyed_hash

PUBLIC_KEY: Final = bytes.fromhex(fingerprint_text("fine_tune_assets: the unchanged sample"))
_MARK: Final = "sample"
SUBJECT_KEY: Final = rf"[0-9a-f]{{64}}|{_MARK}[0-9a-f]{{{64 - len(_MARK)}}}"
"""Regular expression for the key of a subject, made with the secret or with the public key."""


def sample_subject_key(subject: str) -> str:
    return (_MARK + keyed_hash(PUBLIC_KEY, subject))[:64]


def is_sample_subject(subject_key: str) -> bool:
    """Whether a key was made with the public one. A hexadecimal key, made with a secret, never looks like it."""
    return subject_key.startswith(_MARK)


def key_for(subject_key: str, secret: bytes) -> bytes:
    """What is drawn for a subject is drawn with this key: the public one for the sample, else the installation's secret."""
    return PUBLIC_KEY if is_sample_subject(subject_key) else secret
