"""The signature on a release: by the OpenSSF's model signing, offline, with a key of this installation.

Owns signing a folder, and asking whether a folder is what was signed. One signature covers every file but itself, so what was
changed, taken away or added no longer verifies; nor does what another key signed. Standard tools can check it too
(docs/how-to/verify-a-release.md). No network: only the signing by key of `model_signing` is used, never Sigstore's.
"""

import base64
import json
import time
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature

from fine_tune_assets.core.errors import SettingsError, materialize_hint
from fine_tune_assets.core.fingerprints import RememberedHashes, fingerprint_file, short
from fine_tune_assets.core.keys import public_key_file
from fine_tune_assets.core.releases.release_folders import (
    MANIFEST,
    SEALS,
    SIGNATURE,
    HashFile,
    ReleaseError,
    ReleaseFolder,
    read_release,
    release_files,
    verify_release,
)
from fine_tune_assets.core.releases.release_keys import (
    KEY,
    ensure_signing_key,
    private_key_file,
    release_key_fingerprint,
    require_imported_key,
)

MOST_HASHES = 10_000
_AGAIN = (
    f"Nothing is started on it. {materialize_hint('releases')} If it came from another installation, import it again: "
    "`fine-tune releases import`."
)


class SignedReleases:
    """Releases of this installation, verified again and again: a file is read once as long as it can't have changed."""

    def __init__(self, keys: Path) -> None:
        self._keys = keys
        self._hash_file = RememberedHashes(MOST_HASHES, time.time_ns)

    def verify(self, folder: Path, release_id: str, imported_key: str | None = None) -> ReleaseFolder:
        """`imported_key`: fingerprint of the key that the ledger has for an imported release; None for one that was made here.
        Raises ReleaseError."""
        public_key = verifying_key(self._keys, release_id, imported_key)
        return verify_signed_release(folder, release_id, public_key, self._hash_file)


def verifying_key(keys: Path, release_id: str, imported_key: str | None) -> Path:
    """The public key that must have signed the release: this installation's own, or the one that it was imported with.
    Raises ReleaseError if the latter is gone or another one."""
    if imported_key is None:
        return public_key_file(keys, KEY)
    try:
        return require_imported_key(keys, release_id, imported_key)
    except SettingsError as error:
        raise ReleaseError(f"Imported release {release_id} can't be verified. {error}") from error


def sign_release(folder: Path, release_id: str, keys: Path) -> None:
    """Add the signature to a folder that holds all other files, as its manifest names them: weights are not read again.

    Raises SettingsError if the key can't be used.
    """
    from model_signing import signing  # 0.6 s, and only who signs or verifies needs it

    ensure_signing_key(keys)
    (folder / SIGNATURE).unlink(missing_ok=True)
    small = [name for name in (MANIFEST, *sorted(SEALS)) if (folder / name).is_file()]
    files = read_release(folder).manifest["files"] | {name: fingerprint_file(folder / name) for name in small}
    config = signing.Config().use_elliptic_key_signer(private_key=private_key_file(keys))
    config.set_hashing_config(_as_hashed(files, release_id)).sign(folder, folder / SIGNATURE)
    (folder / SIGNATURE).chmod(0o600)


def verify_signed_release(
    folder: Path, release_id: str, public_key: Path, hash_file: HashFile = fingerprint_file
) -> ReleaseFolder:
    """`verify_release`, and that the owner of `public_key` signed exactly these files. Raises ReleaseError."""
    files = release_files(folder, hash_file)
    require_release_signature(folder, release_id, public_key, files)
    return verify_release(folder, release_id, files=files)


def require_release_signature(folder: Path, name: str, public_key: Path, files: dict[str, str]) -> None:
    """Raise ReleaseError unless exactly `files` were signed with the private half of the key."""
    from model_signing import verifying

    if SIGNATURE not in files:
        raise ReleaseError(f"Release {name} is not signed: it has no {SIGNATURE}. {_AGAIN}")
    try:
        known = release_key_fingerprint(public_key)
    except SettingsError as error:
        raise ReleaseError(f"Release {name} can't be verified. {error}") from error
    signer = _signer_named(folder / SIGNATURE)
    if signer is not None and signer != known:
        raise ReleaseError(
            f"Release {name} was signed by another key ({short(signer)}) than this one ({short(known)}). {_AGAIN}"
        )
    signed = {file: found for file, found in files.items() if file != SIGNATURE}
    config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    try:
        config.set_hashing_config(_as_hashed(signed, name)).verify(folder, folder / SIGNATURE)
    except (InvalidSignature, ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        is_other = isinstance(error, ValueError) and str(error).startswith("Signature mismatch")
        why = _difference(_signed_files(folder / SIGNATURE), signed) if is_other else "it is broken, or by another key"
        raise ReleaseError(f"The signature on release {name} does not hold: {why}. {_AGAIN}") from error


def signed_files(signature: Path, name: str, public_key: Path) -> dict[str, str]:
    """File → SHA-256 of all that the owner of the key signed, from the signature alone: what a release must turn out to be.

    Raises ReleaseError unless the signature is by this key.
    """
    try:
        files = _signed_files(signature)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ReleaseError(f"{SIGNATURE} of {name} can't be read ({type(error).__name__}): it was changed.") from error
    require_release_signature(signature.parent, name, public_key, {**files, SIGNATURE: ""})
    return files


def _signed_files(signature: Path) -> dict[str, str]:
    """What a signature that holds is on, for people: file → SHA-256."""
    payload = json.loads(signature.read_text(encoding="utf-8"))["dsseEnvelope"]["payload"]
    return {one["name"]: one["digest"] for one in json.loads(base64.b64decode(payload))["predicate"]["resources"]}


def _difference(signed: dict[str, str], found: dict[str, str]) -> str:
    changed = sorted(name for name in signed.keys() & found.keys() if signed[name] != found[name])
    missing, extra = sorted(signed.keys() - found.keys()), sorted(found.keys() - signed.keys())
    counted = (("changed", changed), ("missing", missing), ("unexpected", extra))
    return ", ".join(f"{len(names)} files {what} {names}" for what, names in counted if names)


def _signer_named(signature: Path) -> str | None:
    """The fingerprint of the key that a signature says it is by; None where it says nothing that can be read."""
    try:
        hint = json.loads(signature.read_text(encoding="utf-8"))["verificationMaterial"]["publicKey"]["hint"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return hint if isinstance(hint, str) else None


def _as_hashed(files: dict[str, str], name: str) -> Any:
    """What model signing would find in the folder, from hashes that are known: it would read 16 GB of weights once more, follow
    what a signature says to ignore, and leave `.git` out."""
    from model_signing import hashing, manifest
    from model_signing._hashing.hashing import Digest

    class Hashed(hashing.Config):
        def hash(self, model_path: Any, *, files_to_hash: Any = None) -> manifest.Manifest:  # noqa: ARG002
            return manifest.Manifest(name, items, kind)

    items = [
        manifest.FileManifestItem(path=Path(file), digest=Digest("sha256", bytes.fromhex(found)))
        for file, found in files.items()
    ]
    kind = manifest.SerializationType.from_args({"method": "files", "hash_type": "sha256", "allow_symlinks": False})
    return Hashed()
