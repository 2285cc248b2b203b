"""`fine-tune releases import` in its order: unpack, prove, probe, and only then put in place and record.

Owns that order, and that nothing is left of what was refused. What each step looks at is in `core.release_archives`,
`release_proofs` and `serving.probing`.
"""

import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fine_tune_assets.cli.releases.release_proofs import prove_release
from fine_tune_assets.core.files import make_folder
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.records import Release
from fine_tune_assets.core.releases.release_archives import unpack_release
from fine_tune_assets.core.releases.release_folders import (
    VERDICT_DOCUMENT,
    VERDICT_KEY,
    ReleaseError,
    ReleaseFolder,
    read_release,
)
from fine_tune_assets.core.releases.release_keys import imported_key_file, keep_imported_key, release_key_fingerprint
from fine_tune_assets.core.releases.release_signing import verify_signed_release, verifying_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.imported_releases import ReleaseImport, import_made_now, key_of_import
from fine_tune_assets.ledger.serving.releases import importing, recorded_releases, require_importable
from fine_tune_assets.ledger.serving.verdict_documents import prove
from fine_tune_assets.serving.engine_start import gguf_files_of
from fine_tune_assets.serving.release_probes import Findings, probe_here

SCRATCH, LOCK = ".importing", "import.lock"
Probe = Callable[[ReleaseFolder, Settings], Findings]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Given:
    """What the person who imports says."""

    archive: Path
    public_key: Path
    by: str
    is_placeholder: bool = False


def import_release(given: Given, settings: Settings, ledger: Ledger, tell: Tell, probe: Probe = probe_here) -> str:
    """The id of the release, which is recorded and in its place; nothing is served yet. One that is here already, whole, stays as
    it is.

    Raises FineTuneError with the reason if anything does not hold. Nothing is left and nothing is recorded then.
    """
    layout = settings.layout
    with _scratch(layout) as scratch:
        unpack_release(given.archive, given.public_key, scratch)
        for line in prove_release(scratch, given.public_key, None):
            tell(line)
        unpacked = read_release(scratch)
        if _is_here(layout, ledger, unpacked.release_id):
            tell(f"release {unpacked.release_id} is here already, whole: nothing to import")
            return unpacked.release_id
        if unpacked.base_gguf:
            gguf_files_of(unpacked)  # before an engine is started on them
        release, made = _release(unpacked, layout), _import(unpacked, given)
        require_importable(ledger, release, made)  # before an engine is started for it
        tell(f"probes on this machine: {probe(unpacked, settings).in_words}")
        _put_in_place(scratch, release, made, given.public_key, layout, ledger)
        return unpacked.release_id


@contextmanager
def _scratch(layout: Layout) -> Iterator[Path]:
    """A private empty folder, gone at the end; what a killed import left goes first. One import at a time."""
    make_folder(layout.releases)
    make_folder(layout.run)
    with (layout.run / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ReleaseError("Another import is running. Try again when it has ended.") from error
        scratch = layout.releases / SCRATCH
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _is_here(layout: Layout, ledger: Ledger, release_id: str) -> bool:
    known = next((one for one in recorded_releases(ledger) if one.release.release_id == release_id), None)
    if known is None or known.removed_at is not None:
        return False
    try:
        key = verifying_key(layout.keys, release_id, key_of_import(ledger, release_id))
        verify_signed_release(layout.data_dir / known.release.folder, release_id, key)
    except ReleaseError:
        return False
    return True


def _release(unpacked: ReleaseFolder, layout: Layout) -> Release:
    folder = (layout.releases / unpacked.release_id).relative_to(layout.data_dir)
    names = [name for name in Release.__dataclass_fields__ if name not in ("release_id", "folder")]
    bound = {name: unpacked.manifest.get(name) for name in names}
    missing = [name for name, value in bound.items() if not isinstance(value, str) or not value]
    if missing:
        raise ReleaseError(f"Release {unpacked.release_id} does not say its {', '.join(missing)}.")
    return Release(release_id=unpacked.release_id, folder=str(folder), **{name: str(bound[name]) for name in names})


def _import(unpacked: ReleaseFolder, given: Given) -> ReleaseImport:
    verdict = prove(unpacked.folder / VERDICT_DOCUMENT, unpacked.folder / VERDICT_KEY).verdict
    signers = [str(who) for who in unpacked.manifest.get("verdict_signers", [])]
    key = release_key_fingerprint(given.public_key)
    return import_made_now(unpacked.release_id, key, verdict, signers, given.by, is_placeholder=given.is_placeholder)


def _put_in_place(
    scratch: Path, release: Release, made: ReleaseImport, public_key: Path, layout: Layout, ledger: Ledger
) -> None:
    """Key, folder and row, or none of them."""
    folder = layout.data_dir / release.folder
    key, aside = imported_key_file(layout.keys, release.release_id), scratch.with_name(f"{SCRATCH}-{uuid.uuid4().hex}")
    before = key.read_bytes() if key.is_file() else None
    try:
        with importing(ledger, release, made):
            keep_imported_key(layout.keys, release.release_id, public_key)
            if folder.exists():  # damaged, or made and never recorded
                os.replace(folder, aside)
            os.replace(scratch, folder)
    except BaseException:
        if folder.exists() and not scratch.exists():
            os.replace(folder, scratch)
        if aside.exists():
            os.replace(aside, folder)
        key.unlink(missing_ok=True) if before is None else key.write_bytes(before)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
