"""Signs and verifies release folders with OpenSSF model signing, offline, with a key of this installation.

The signature covers every other file, so that a changed, missing or added file fails verification. Standard tools can verify it
too (docs/how-to/verify-a-release.md).
"""

import time
from pathlib import Path

from fine_tune_assets.core.errors import SettingsError, materialize_hint
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.fingerprints import FileHashCache, fingerprint_bytes, fingerprint_file, short
from fine_tune_assets.core.keys import public_key_file, public_pem
from fine_tune_assets.core.releases.release_folders import (
    MANIFEST,
    SEALS,
    SIGNATURE,
    HashFile,
    ReleaseError,
    ReleaseFolder,
    hash_release_files,
    read_release,
    verify_release,
)
from fine_tune_assets.core.releases.release_keys import (
    KEY,
    ensure_signing_key,
    private_key_file,
    read_private_key,
    read_release_key,
    require_imported_key,
)
from fine_tune_assets.core.releases.signature_bundles import BundleError, claimed_signer, sign_files, verify_files

MAX_CACHED_HASHES = 10_000
_REPAIR_HINT = (
    f"It is not served. {materialize_hint('releases')} If it came from another installation, import it again with "
    "`fine-tune releases import`."
)


class SignedReleases:
    """Verifies releases repeatedly, and hashes a file again only if it may have changed."""

    def __init__(self, keys: Path) -> None:
        self._keys = keys
        self._hash_file = FileHashCache(MAX_CACHED_HASHES, time.time_ns)

    def verify(self, folder: Path, release_id: str, imported_key: str | None = None) -> ReleaseFolder:
        """`imported_key`: key fingerprint in the ledger for an imported release; None for one built here. Raises ReleaseError."""
        public_key = verifying_key(self._keys, release_id, imported_key)
        return verify_signed_release(folder, release_id, public_key, self._hash_file)


def verifying_key(keys: Path, release_id: str, imported_key: str | None) -> Path:
    """The public key that must have signed the release: this installation's own, or the one it was imported with.

    Raises ReleaseError if the latter is missing or was replaced.
    """
    if imported_key is None:
        return public_key_file(keys, KEY)
    try:
        return require_imported_key(keys, release_id, imported_key)
    except SettingsError as error:
        raise ReleaseError(f"Imported release {release_id} can't be verified. {error}") from error


def sign_release(folder: Path, release_id: str, keys: Path) -> None:
    """Sign a folder that contains all other files, using the manifest's hashes so that weights are not read again.

    Raises SettingsError if the key is unusable.
    """
    ensure_signing_key(keys)
    (folder / SIGNATURE).unlink(missing_ok=True)
    small = [name for name in (MANIFEST, *sorted(SEALS)) if (folder / name).is_file()]
    files = read_release(folder).manifest["files"] | {name: fingerprint_file(folder / name) for name in small}
    write_text(folder / SIGNATURE, sign_files(files, release_id, read_private_key(private_key_file(keys))))
    (folder / SIGNATURE).chmod(0o600)


def verify_signed_release(
    folder: Path, release_id: str, public_key: Path, hash_file: HashFile = fingerprint_file
) -> ReleaseFolder:
    """Like `verify_release`, and checks that the owner of `public_key` signed exactly these files. Raises ReleaseError."""
    files = hash_release_files(folder, hash_file)
    require_release_signature(folder, release_id, public_key, files)
    return verify_release(folder, release_id, files=files)


def require_release_signature(folder: Path, name: str, public_key: Path, files: dict[str, str]) -> None:
    """Raise ReleaseError unless exactly `files` were signed with the private key of `public_key`."""
    if SIGNATURE not in files:
        raise ReleaseError(f"Release {name} is not signed: it has no {SIGNATURE}. {_REPAIR_HINT}")
    signed = read_signed_files(folder / SIGNATURE, name, public_key)
    found = {file: fingerprint for file, fingerprint in files.items() if file != SIGNATURE}
    if signed != found:
        reason = _describe_difference(signed, found)
        raise ReleaseError(f"The signature of release {name} is invalid: {reason}. {_REPAIR_HINT}")


def read_signed_files(signature: Path, name: str, public_key: Path) -> dict[str, str]:
    """File → SHA-256 of everything that was signed, read from the signature alone.

    Raises ReleaseError unless the signature is by this key.
    """
    try:
        key = read_release_key(public_key)
    except SettingsError as error:
        raise ReleaseError(f"Release {name} can't be verified. {error}") from error
    try:
        bundle = signature.read_text(encoding="utf-8")
        signer, trusted = claimed_signer(bundle), fingerprint_bytes(public_pem(key))
        if signer is not None and signer != trusted:
            raise ReleaseError(
                f"Release {name} was signed by the key {short(signer)}, but {short(trusted)} is trusted for it. {_REPAIR_HINT}"
            )
        return verify_files(bundle, key)
    except (OSError, UnicodeDecodeError, BundleError) as error:
        raise ReleaseError(
            f"The signature of release {name} ({SIGNATURE}) is invalid: it is damaged, or by another key. {_REPAIR_HINT}"
        ) from error


def _describe_difference(signed: dict[str, str], found: dict[str, str]) -> str:
    changed = sorted(name for name in signed.keys() & found.keys() if signed[name] != found[name])
    missing, extra = sorted(signed.keys() - found.keys()), sorted(found.keys() - signed.keys())
    differences = (("changed", changed), ("missing", missing), ("unexpected", extra))
    return ", ".join(f"{len(names)} files {kind} {names}" for kind, names in differences if names)
