"""Subject keys of the repository's sample reports, derived from a public key so that they are the same everywhere.

All other subject keys are derived from the installation's secret key. `reports/sample_reports` identifies the sample reports.
"""

from typing import Final

from fine_tune_assets.core.fingerprints import fingerprint_text, keyed_hash

PUBLIC_KEY: Final = bytes.fromhex(fingerprint_text("fine_tune_assets: the unchanged sample"))
_PREFIX: Final = "sample"
SUBJECT_KEY: Final = rf"[0-9a-f]{{64}}|{_PREFIX}[0-9a-f]{{{64 - len(_PREFIX)}}}"
"""Regular expression for subject keys, derived from the secret or the public key."""


def sample_subject_key(subject: str) -> str:
    return (_PREFIX + keyed_hash(PUBLIC_KEY, subject))[:64]


def is_sample_subject(subject_key: str) -> bool:
    """Whether a key was derived from the public key: its prefix is not hexadecimal, so secret keys never match."""
    return subject_key.startswith(_PREFIX)


def select_key(subject_key: str, secret: bytes) -> bytes:
    """The key that seeds random choices for a subject: the public key for the sample, otherwise the secret."""
    return PUBLIC_KEY if is_sample_subject(subject_key) else secret
