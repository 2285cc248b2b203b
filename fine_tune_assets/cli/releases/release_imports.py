"""`fine-tune releases import`: unpack, verify and probe a release, then move it into place and record it.

If any step fails, nothing stays on disk or in the ledger.
"""

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fine_tune_assets.cli.releases.release_proofs import prove_release
from fine_tune_assets.core.files import make_folder, make_read_only, remove_folder
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.releases.release_archives import unpack_confined
from fine_tune_assets.core.releases.release_folders import (
    VERDICT_DOCUMENT,
    VERDICT_KEY,
    ReleaseError,
    ReleaseFolder,
    read_release,
)
from fine_tune_assets.core.releases.release_keys import imported_key_file, release_key_fingerprint, store_imported_key
from fine_tune_assets.core.releases.release_signing import verify_signed_release, verifying_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.core.shared_records import Release
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.imported_releases import ReleaseImport, find_import_key, make_import
from fine_tune_assets.ledger.serving.release_records import (
    import_transaction,
    list_recorded_releases,
    require_importable,
)
from fine_tune_assets.ledger.serving.verdict_documents import verify_document
from fine_tune_assets.serving.engine_start import find_gguf_files
from fine_tune_assets.serving.release_probes import ProbeResult, probe_release

SCRATCH, LOCK = ".importing", "import.lock"
Probe = Callable[[ReleaseFolder, Settings], ProbeResult]
Report = Callable[[str], None]
Unpack = Callable[[Path, Path, Path], None]


@dataclass(frozen=True)
class ImportRequest:
    """The arguments of an import."""

    archive: Path
    public_key: Path
    by: str
    is_placeholder: bool = False


def import_release(
    request: ImportRequest,
    settings: Settings,
    ledger: Ledger,
    report: Report,
    probe: Probe = probe_release,
    unpack: Unpack = unpack_confined,
) -> str:
    """Import a release without deploying it; return its id. An intact release that is already imported is not changed.

    Raises FineTuneError if a check fails; then nothing is stored or recorded.
    """
    layout = settings.layout
    with _scratch(layout) as scratch:
        unpack(request.archive, request.public_key, scratch)
        for line in prove_release(scratch, request.public_key, None):
            report(line)
        unpacked = read_release(scratch)
        if _is_here(layout, ledger, unpacked.release_id):
            report(f"release {unpacked.release_id} is already here and intact: nothing to import")
            return unpacked.release_id
        if unpacked.base_gguf:
            find_gguf_files(unpacked)  # before the probe starts an engine
        release, imported = _release(unpacked, layout), _import(unpacked, request)
        require_importable(ledger, release, imported)  # before the probe starts an engine
        report(f"probes on this machine: {probe(unpacked, settings).summary}")
        _put_in_place(scratch, release, imported, request.public_key, layout, ledger)
        return unpacked.release_id


@contextmanager
def _scratch(layout: Layout) -> Iterator[Path]:
    """A private temporary folder. Removes leftovers of a killed import. Only one import runs at a time."""
    make_folder(layout.releases)
    make_folder(layout.run)
    with (layout.run / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ReleaseError(
                "Another import is running. Run `fine-tune releases import` again when it has ended."
            ) from error
        scratch = layout.releases / SCRATCH
        if scratch.exists():
            remove_folder(scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700)
        try:
            yield scratch
        finally:
            if scratch.exists():
                remove_folder(scratch, ignore_errors=True)


def _is_here(layout: Layout, ledger: Ledger, release_id: str) -> bool:
    known = next((one for one in list_recorded_releases(ledger) if one.release.release_id == release_id), None)
    if known is None or known.removed_at is not None:
        return False
    try:
        key = verifying_key(layout.keys, release_id, find_import_key(ledger, release_id))
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
        raise ReleaseError(f"Release {unpacked.release_id} lacks {', '.join(missing)} in its manifest.")
    return Release(release_id=unpacked.release_id, folder=str(folder), **{name: str(bound[name]) for name in names})


def _import(unpacked: ReleaseFolder, request: ImportRequest) -> ReleaseImport:
    verdict = verify_document(unpacked.folder / VERDICT_DOCUMENT, unpacked.folder / VERDICT_KEY).verdict
    signers = [str(who) for who in unpacked.manifest.get("verdict_signers", [])]
    key = release_key_fingerprint(request.public_key)
    return make_import(unpacked.release_id, key, verdict, signers, request.by, is_placeholder=request.is_placeholder)


def _put_in_place(
    scratch: Path, release: Release, imported: ReleaseImport, public_key: Path, layout: Layout, ledger: Ledger
) -> None:
    """Store key, folder and record together, or none of them."""
    folder = layout.data_dir / release.folder
    key, aside = imported_key_file(layout.keys, release.release_id), scratch.with_name(f"{SCRATCH}-{uuid.uuid4().hex}")
    before = key.read_bytes() if key.is_file() else None
    try:
        with import_transaction(ledger, release, imported):
            store_imported_key(layout.keys, release.release_id, public_key)
            if folder.exists():  # damaged, or never recorded
                os.replace(folder, aside)
            os.replace(scratch, folder)
            make_read_only(folder)
    except BaseException:
        if folder.exists() and not scratch.exists():
            folder.chmod(0o700)
            os.replace(folder, scratch)
        if aside.exists():
            os.replace(aside, folder)
        key.unlink(missing_ok=True) if before is None else key.write_bytes(before)
        raise
    finally:
        if aside.exists():
            remove_folder(aside, ignore_errors=True)
