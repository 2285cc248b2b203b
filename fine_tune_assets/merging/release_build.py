"""Puts a release together: one content-addressed, signed folder with the model, its prompt, and the evidence for it.

Owns how the folder is written. What is in it is decided by who calls.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fine_tune_assets.core.files import folder_written_aside, write_bytes, write_text
from fine_tune_assets.core.fingerprints import HashedOnce
from fine_tune_assets.core.prompts.prompt_contract import PromptContract
from fine_tune_assets.core.releases.release_folders import (
    ADAPTER,
    MODEL,
    PROMPT,
    WEIGHTS,
    ReleaseError,
    ReleaseFolder,
    write_manifest,
)
from fine_tune_assets.core.releases.release_keys import ensure_signing_key
from fine_tune_assets.core.releases.release_signing import sign_release, verify_signed_release


@dataclass(frozen=True)
class ReleaseParts:
    """What goes into a release."""

    model: Path
    """A GGUF file, or the folder of merged weights. With `base_gguf` among the facts, the file is an adapter on top of it."""
    contract: PromptContract
    facts: Mapping[str, Any]
    """For the manifest."""
    documents: Mapping[str, str]
    """Path in the release → text."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Path in the release → file to take over."""
    seals: Mapping[str, bytes] = field(default_factory=dict)
    """Signatures and public keys: no part of the id."""


def build_release(releases_dir: Path, parts: ReleaseParts, keys: Path) -> ReleaseFolder:
    """Write `releases_dir/<release id>/`, signed by the pair in `keys`. Each file is read once: weights may be 140 GB.

    The same content gives the same id, and an existing folder is kept if it is whole and signed, else replaced. Raises
    SettingsError if the key can't be used.
    """
    public_key, once = ensure_signing_key(keys), HashedOnce()
    scratch = releases_dir / ".building"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        release_id = _write(scratch, parts, once)
        folder = releases_dir / release_id
        if not _is_whole(folder, release_id, public_key, once):
            sign_release(scratch, release_id, keys)
            with folder_written_aside(folder) as aside:
                aside.rmdir()
                os.replace(scratch, aside)
        # Before the scratch folder goes: a file that loses a name has another time of change, and would be read again.
        return verify_signed_release(folder, release_id, public_key, once)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write(folder: Path, parts: ReleaseParts, once: HashedOnce) -> str:
    if parts.model.is_dir():
        _take_folder(parts.model, folder / WEIGHTS)
    else:
        _link(parts.model, folder / (ADAPTER if "base_gguf" in parts.facts else MODEL))
    write_text(folder / PROMPT, parts.contract.as_json())
    for name, source in parts.files.items():
        _link(source, folder / name)
    for name, text in parts.documents.items():
        write_text(folder / name, text)
    for name, content in parts.seals.items():
        write_bytes(folder / name, content)
    return write_manifest(folder, {**parts.facts, "prompt_fingerprint": parts.contract.fingerprint}, once)


def _is_whole(folder: Path, release_id: str, public_key: Path, once: HashedOnce) -> bool:
    if not folder.is_dir():
        return False
    try:
        verify_signed_release(folder, release_id, public_key, once)
    except ReleaseError:
        return False
    return True


def _take_folder(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_file():
            _link(path, target / path.relative_to(source))


def _link(source: Path, target: Path) -> None:
    """A hard link where the file system allows it: a release then costs no second copy of the weights."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    real = source.resolve()  # of a symbolic link not the link: a release holds plain files
    try:
        os.link(real, target)
    except OSError:
        shutil.copy(real, target)
