"""Writes a release: a content-addressed, signed folder with the model, its prompt settings and its evidence.

The caller decides the content.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.core.files import atomic_folder, copy_file, make_read_only, write_bytes, write_text
from fine_tune_assets.core.fingerprints import FileHashMemo, short
from fine_tune_assets.core.prompts.prompt_contract import PromptContract
from fine_tune_assets.core.releases.release_folders import (
    ADAPTER,
    MODEL,
    PROMPT,
    WEIGHTS,
    ReleaseError,
    ReleaseFolder,
    read_release,
    write_manifest,
)
from fine_tune_assets.core.releases.release_keys import ensure_signing_key
from fine_tune_assets.core.releases.release_signing import sign_release, verify_signed_release


@dataclass(frozen=True)
class ReleaseParts:
    """The content of a release."""

    model: Path
    """A GGUF file, or the folder of merged weights or of an adapter. If `facts` contains `base_gguf`, the file is an adapter for
    that base."""
    model_fingerprint: str
    """Of the file or folder when it was measured."""
    contract: PromptContract
    facts: Mapping[str, Any]
    """Fields of the manifest."""
    documents: Mapping[str, str]
    """Path in the release → text."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Path in the release → file to copy."""
    signatures: Mapping[str, bytes] = field(default_factory=dict)
    """Signatures and public keys, which are not part of the release id."""


def build_release(releases_dir: Path, parts: ReleaseParts, keys: Path) -> ReleaseFolder:
    """Write `releases_dir/<release id>/`, signed with the key pair in `keys`. Reads each file once: weights may be 140 GB.

    The same content gives the same id. An existing folder is kept if it is complete and signed, and replaced otherwise. The
    folder contains copies and is read-only. Raises SettingsError if the key can't be used, ReleaseError if the model was
    changed since it was measured.
    """
    public_key, once = ensure_signing_key(keys), FileHashMemo()
    scratch = releases_dir / ".building"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        release_id = _write(scratch, parts, once)
        if (found := read_release(scratch).model_fingerprint) != parts.model_fingerprint:
            raise ReleaseError(
                f"The weights {short(found)} are not those that were measured, {short(parts.model_fingerprint)}, so they are not "
                f"signed. {materialize_hint('merged_weights', 'quantized_weights')}"
            )
        folder = releases_dir / release_id
        if not _is_intact(folder, release_id, public_key, once):
            sign_release(scratch, release_id, keys)
            with atomic_folder(folder) as aside:
                aside.rmdir()
                os.replace(scratch, aside)
        release = verify_signed_release(folder, release_id, public_key, once)
        make_read_only(folder)
        return release
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write(folder: Path, parts: ReleaseParts, once: FileHashMemo) -> str:
    if parts.model.is_dir():
        _copy_folder(parts.model, folder / WEIGHTS, once)
    else:
        _copy(parts.model, folder / (ADAPTER if "base_gguf" in parts.facts else MODEL), once)
    write_text(folder / PROMPT, parts.contract.as_json())
    for name, source in parts.files.items():
        _copy(source, folder / name, once)
    for name, text in parts.documents.items():
        write_text(folder / name, text)
    for name, content in parts.signatures.items():
        write_bytes(folder / name, content)
    return write_manifest(folder, {**parts.facts, "prompt_fingerprint": parts.contract.fingerprint}, once)


def _is_intact(folder: Path, release_id: str, public_key: Path, once: FileHashMemo) -> bool:
    if not folder.is_dir():
        return False
    try:
        verify_signed_release(folder, release_id, public_key, once)
    except ReleaseError:
        return False
    return True


def _copy_folder(source: Path, target: Path, once: FileHashMemo) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_file():
            _copy(path, target / path.relative_to(source), once)


def _copy(source: Path, target: Path, once: FileHashMemo) -> None:
    """Never a hard link: a change to the weights would then change a model that is being served."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Resolve symbolic links: a release contains plain files.
    once.remember(target, copy_file(source.resolve(), target))
