"""Imports a base model into the data folder from a Hugging Face folder, an archive or a GGUF."""

import gzip
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO

from pydantic import TypeAdapter

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.files import atomic_folder, file_lock
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_folder, short
from fine_tune_assets.core.processes.confined_process import ConfinedProcessError, call_confined, limits_by_size
from fine_tune_assets.core.processes.confined_worker import Channel
from fine_tune_assets.core.processes.confinement import Access, include_hub_blobs
from fine_tune_assets.engines.compatibility import make_compatible
from fine_tune_assets.training.base_models.gguf_files import convert_gguf, read_gguf_facts
from fine_tune_assets.training.base_models.licences import find_licence, spdx_name
from fine_tune_assets.training.base_models.model_files import (
    is_allowed_name,
    model_files,
    printable,
    require_valid_files,
)
from fine_tune_assets.training.base_models.registration import BaseModel, describe_base_model, write_source

_BLOCK = 1 << 20
_MEMORY_BYTES = 32_000_000_000
"""Address space beside the weights: torch's libraries alone map several gigabytes."""


@dataclass(frozen=True)
class _Entry:
    name: str
    is_folder: bool
    content: IO[bytes] | None
    """None for a folder, a link or a device."""


def is_archive(path: Path) -> bool:
    """Whether it is a ZIP, tar or gzipped tar archive, regardless of its name."""
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def unpack_archive(archive: Path, folder: Path) -> tuple[Path, list[str]]:
    """Unpack into the empty `folder`. Returns the model's folder and the entries that were skipped.

    Raises ModelFolderError for a damaged archive, a duplicate entry or too little space.
    """
    skipped = []
    free = shutil.disk_usage(folder).free // 2  # the unpacked files are then copied
    try:
        for entry in _entries(archive):
            target = _target_path(entry, folder)
            if target is None or entry.content is None:
                skipped += [] if entry.is_folder else [entry.name]
                continue
            target.parent.mkdir(exist_ok=True)
            free -= _write_entry(entry.name, entry.content, target, free)
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        gzip.BadGzipFile,
        EOFError,
        OSError,
        RuntimeError,
        ValueError,
    ) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ModelFolderError(f"{printable(archive.name)} is damaged or encrypted ({type(error).__name__}).") from None
    unpacked = list(folder.iterdir())
    return (unpacked[0] if len(unpacked) == 1 and unpacked[0].is_dir() else folder), skipped


def _target_path(entry: _Entry, folder: Path) -> Path | None:
    parts = PurePosixPath(entry.name).parts
    is_plain = 1 <= len(parts) <= 2 and not {"..", "/"} & set(parts) and not set(entry.name) & set("\\:\0")
    return folder.joinpath(*parts) if is_plain and is_allowed_name(parts[-1]) else None


def _write_entry(name: str, source: IO[bytes], target: Path, limit: int) -> int:
    """Return the number of bytes written."""
    written = 0
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ModelFolderError(f"The archive contains {printable(name)} twice.") from None
    with source, os.fdopen(descriptor, "wb") as file:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > limit:
                raise ModelFolderError(f"The archive does not fit on the disk; unpacking stopped at {printable(name)}.")
            file.write(block)
    return written


def _entries(archive: Path) -> Iterator[_Entry]:
    return _zip_entries(archive) if zipfile.is_zipfile(archive) else _tar_entries(archive)


def _zip_entries(archive: Path) -> Iterator[_Entry]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            is_plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG) and not info.is_dir()
            yield _Entry(info.filename, info.is_dir(), opened.open(info) if is_plain else None)


def _tar_entries(archive: Path) -> Iterator[_Entry]:
    with tarfile.open(archive, "r:*") as opened:
        for info in opened:
            is_plain = info.isreg() and not info.issparse()
            yield _Entry(info.name, info.isdir(), opened.extractfile(info) if is_plain else None)


LOCK, STAGING = ".importing.lock", "importing-"
_GGUF_MAGIC = b"GGUF"
_DISK_MARGIN = 1.05
"""Free space required, as a multiple of the bytes to write: a full disk would harm everything else on it."""


@dataclass(frozen=True)
class ImportedModel:
    model: BaseModel
    folder: Path
    skipped_files: tuple[str, ...]
    """Files that no engine needs."""


@dataclass(frozen=True)
class _StagedModel:
    fingerprint: str
    """Fingerprint of the original, before any change."""
    licence: str
    source: str
    skipped_files: tuple[str, ...]


def import_model(path: Path, base_models: Path, name: str, licence: str, source: str) -> ImportedModel:
    """Write `base_models/<name>-<hash of its content>/`. For empty arguments, the model's own statements apply.

    Raises ModelFolderError, in which case nothing is written.
    """
    name = _folder_name(name or _default_name(path))
    if licence and not spdx_name(licence):
        raise ModelFolderError(
            f"{printable(licence)} is not a licence name. Use an SPDX id, or LicenseRef- and a name."
        )
    with _staging_folder(base_models) as staging:
        folder = staging / name
        staged, described = _stage_confined(path.absolute(), folder.resolve(), licence)
        origin = {
            "source": source or staged.source or f"imported from {printable(path.name)}",
            "source_fingerprint": staged.fingerprint,
            "licence": described.licence,
        }
        write_source(folder, {"name": name, **origin}, content=described.fingerprint)
        fingerprint = fingerprint_folder(folder)
        final = base_models / f"{name}-{short(fingerprint)}"
        with atomic_folder(final) as temporary:
            temporary.rmdir()
            os.replace(folder, temporary)
    model = replace(
        described,
        fingerprint=fingerprint,
        folder=str(final),
        source=origin["source"],
        source_fingerprint=origin["source_fingerprint"],
    )
    return ImportedModel(model, final, staged.skipped_files)


def _stage_confined(path: Path, folder: Path, licence: str) -> tuple[_StagedModel, BaseModel]:
    """Check, unpack or convert the model in a confined process, which can read only `path` and write only beside `folder`."""
    access = Access(include_hub_blobs(path), (str(folder.parent),), makes_links=True)
    size = path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in path.glob("*"))
    limits = limits_by_size(size, _MEMORY_BYTES + 10 * size)
    arguments = {"path": str(path), "folder": str(folder), "licence": licence}
    try:
        (found,) = call_confined(_send_staged, arguments, limits, access, (ModelFolderError,))
    except ConfinedProcessError as error:
        raise ModelFolderError(
            f"{printable(path.name)} can't be imported: reading it {error.failure.value}. Get it again from its publisher."
        ) from error
    if any(file.is_symlink() for file in folder.rglob("*")):
        raise ModelFolderError(f"{printable(path.name)} can't be imported: reading it made a link.")
    return TypeAdapter(tuple[_StagedModel, BaseModel]).validate_python((found["staged"], found["model"]))


def _send_staged(channel: Channel, path: str, folder: str, licence: str) -> None:
    target = Path(folder)
    try:
        staged = _stage(Path(path), target, target.parent / ".unpacked")
        make_compatible(target)
        found = find_licence(target, licence or staged.licence)
        described = describe_base_model(target.name, target, found.name)
    except OSError as error:
        raise ModelFolderError(
            f"{printable(Path(path).name)} can't be imported: {error.strerror or type(error).__name__}."
        ) from error
    channel.send({"staged": asdict(staged), "model": asdict(described)})


def _stage(path: Path, folder: Path, scratch: Path) -> _StagedModel:
    folder.mkdir(mode=0o700)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelFolderError(f"{printable(path.name)} has no config.json, so it is not a Hugging Face folder.")
        return _stage_folder(path, folder)
    if not path.is_file():
        raise ModelFolderError(f"File or folder {printable(str(path))} not found.")
    with path.open("rb") as file:
        start = file.read(len(_GGUF_MAGIC))
    if start == _GGUF_MAGIC:
        return _stage_gguf(path, folder)
    if is_archive(path):
        scratch.mkdir(mode=0o700)
        fingerprint = fingerprint_file(path)
        unpacked, skipped = unpack_archive(path, scratch)
        staged = _stage_folder(unpacked, folder)
        return replace(staged, fingerprint=fingerprint, skipped_files=(*map(printable, skipped), *staged.skipped_files))
    raise ModelFolderError(
        f"{printable(path.name)} is neither a Hugging Face folder, a ZIP or tar archive of one, nor a GGUF. A single weights "
        "file is not enough: import the folder with config.json and tokenizer.json."
    )


def _stage_folder(path: Path, folder: Path) -> _StagedModel:
    """Check and copy the files of the model."""
    included, skipped = model_files(path)
    require_valid_files(path, included)
    _require_space(folder, sum((path / name).stat().st_size for name in included))
    for name in included:
        shutil.copyfile(path / name, folder / name)
    # Hash and later check the copy, because the original may change meanwhile.
    fingerprint = fingerprint_folder(folder)
    return _StagedModel(fingerprint, "", "", tuple(map(printable, skipped)))


def _stage_gguf(path: Path, folder: Path) -> _StagedModel:
    facts = read_gguf_facts(path)
    _require_space(folder, facts.parameters * (4 if facts.weights_dtype == "float32" else 2))
    convert_gguf(path, folder)
    return _StagedModel(fingerprint_file(path), facts.licence, facts.source, ())


def _require_space(folder: Path, size_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if size_bytes * _DISK_MARGIN > free:
        raise ModelFolderError(
            f"The model needs {size_bytes / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free below {folder.parent.parent}. "
            "Free some space, or set FINE_TUNE_DATA_DIR to a larger disk."
        )


@contextmanager
def _staging_folder(base_models: Path) -> Iterator[Path]:
    """A folder on the same disk. A lock allows one import at a time; leftovers of a killed import are removed."""
    with file_lock(base_models / LOCK):
        for leftover in base_models.glob(f".{STAGING}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f".{STAGING}", dir=base_models) as staging:
            yield Path(staging)


def _default_name(path: Path) -> str:
    """The name of the file or folder; in a Hugging Face cache, whose folders are named by hashes, the repository's name."""
    if path.parent.name == "snapshots":
        return path.parent.parent.name.rpartition("--")[2]
    return re.sub(r"\.(zip|tar|tar\.gz|tgz|gguf)$", "", path.resolve().name, flags=re.IGNORECASE)


def _folder_name(name: str) -> str:
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
    if not cleaned:
        raise ModelFolderError(f"{printable(name)} cannot be a folder name. Choose one with --name.")
    return cleaned[:80]
