"""Brings a model into the base models of the data folder: from a Hugging Face folder, an archive, or a GGUF."""

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
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.files import folder_written_aside, locked
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_folder, short
from fine_tune_assets.engines.portable import make_portable
from fine_tune_assets.training.base_models.gguf_files import convert_gguf, read_gguf
from fine_tune_assets.training.base_models.licences import find_licence, spdx_name
from fine_tune_assets.training.base_models.model_files import is_listed, model_files, require_sound, shown
from fine_tune_assets.training.base_models.registry import BaseModel, describe_base_model, write_source

_BLOCK = 1 << 20


@dataclass(frozen=True)
class _Entry:
    name: str
    is_folder: bool
    content: IO[bytes] | None
    """None for a folder, a link or a device."""


def is_archive(path: Path) -> bool:
    """Whether it is a ZIP, tar or gzipped tar archive, whatever its name."""
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def unpack(archive: Path, folder: Path) -> tuple[Path, list[str]]:
    """Unpack into the empty `folder`. Returns the folder of the model, and the entries that were left out.

    Raises ModelFolderError for a damaged archive, an entry that comes twice, or too little space.
    """
    left_out = []
    free = shutil.disk_usage(folder).free // 2  # what is unpacked is written once more
    try:
        for entry in _entries(archive):
            target = _target(entry, folder)
            if target is None or entry.content is None:
                left_out += [] if entry.is_folder else [entry.name]
                continue
            target.parent.mkdir(exist_ok=True)
            free -= _write(entry.name, entry.content, target, free)
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
        raise ModelFolderError(f"{shown(archive.name)} is damaged or encrypted ({type(error).__name__}).") from None
    found = list(folder.iterdir())
    return (found[0] if len(found) == 1 and found[0].is_dir() else folder), left_out


def _target(entry: _Entry, folder: Path) -> Path | None:
    parts = PurePosixPath(entry.name).parts
    is_plain = 1 <= len(parts) <= 2 and not {"..", "/"} & set(parts) and not set(entry.name) & set("\\:\0")
    return folder.joinpath(*parts) if is_plain and is_listed(parts[-1]) else None


def _write(name: str, source: IO[bytes], target: Path, limit: int) -> int:
    """Returns the bytes that were written."""
    written = 0
    try:
        number = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ModelFolderError(f"The archive has {shown(name)} twice.") from None
    with source, os.fdopen(number, "wb") as file:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > limit:
                raise ModelFolderError(f"The archive unpacks to more than fits on the disk, at {shown(name)}.")
            file.write(block)
    return written


def _entries(archive: Path) -> Iterator[_Entry]:
    return _zipped(archive) if zipfile.is_zipfile(archive) else _tarred(archive)


def _zipped(archive: Path) -> Iterator[_Entry]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            is_plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG) and not info.is_dir()
            yield _Entry(info.filename, info.is_dir(), opened.open(info) if is_plain else None)


def _tarred(archive: Path) -> Iterator[_Entry]:
    with tarfile.open(archive, "r:*") as opened:
        for info in opened:
            is_plain = info.isreg() and not info.issparse()
            yield _Entry(info.name, info.isdir(), opened.extractfile(info) if is_plain else None)


LOCK, STAGING = ".importing.lock", "importing-"
_GGUF = b"GGUF"
_RESERVE = 1.05
"""Of the bytes that are about to be written: an import that fills the disk to its last byte harms everything else on it."""


@dataclass(frozen=True)
class Imported:
    model: BaseModel
    folder: Path
    left_out: tuple[str, ...]
    """Files that no engine here needs."""


@dataclass(frozen=True)
class _Staged:
    fingerprint: str
    """Of what was brought, before anything was changed."""
    licence: str
    source: str
    left_out: tuple[str, ...]


def import_model(path: Path, base_models: Path, name: str, licence: str, source: str) -> Imported:
    """Write `base_models/<name>-<hash of its content>/`. Empty texts mean what the model itself says.

    Raises ModelFolderError with nothing written.
    """
    name = _folder_name(name or _own_name(path))
    if licence and not spdx_name(licence):
        raise ModelFolderError(f"{shown(licence)} names no licence. Give an SPDX id, or LicenseRef- and a name.")
    with _staging(base_models) as staging:
        folder = staging / name
        staged = _stage(path, folder, staging / ".unpacked")
        make_portable(folder)
        found = find_licence(folder, licence or staged.licence)
        described = describe_base_model(name, folder, found.name)
        origin = {
            "source": source or staged.source or f"imported from {shown(path.name)}",
            "source_fingerprint": staged.fingerprint,
            "licence": described.licence,
        }
        write_source(folder, {"name": name, **origin}, content=described.fingerprint)
        fingerprint = fingerprint_folder(folder)
        final = base_models / f"{name}-{short(fingerprint)}"
        with folder_written_aside(final) as aside:
            aside.rmdir()
            os.replace(folder, aside)
    model = replace(
        described,
        fingerprint=fingerprint,
        folder=str(final),
        source=origin["source"],
        source_fingerprint=origin["source_fingerprint"],
    )
    return Imported(model, final, staged.left_out)


def _stage(path: Path, folder: Path, scratch: Path) -> _Staged:
    folder.mkdir(mode=0o700)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelFolderError(f"{shown(path.name)} has no config.json: it is no Hugging Face folder.")
        return _stage_folder(path, folder)
    if not path.is_file():
        raise ModelFolderError(f"There is no file or folder {shown(str(path))}.")
    with path.open("rb") as file:
        start = file.read(len(_GGUF))
    if start == _GGUF:
        return _stage_gguf(path, folder)
    if is_archive(path):
        scratch.mkdir(mode=0o700)
        fingerprint = fingerprint_file(path)
        unpacked, left_out = unpack(path, scratch)
        staged = _stage_folder(unpacked, folder)
        return replace(staged, fingerprint=fingerprint, left_out=(*map(shown, left_out), *staged.left_out))
    raise ModelFolderError(
        f"{shown(path.name)} is no Hugging Face folder, no ZIP or tar archive of one, and no GGUF. A single weights file is not "
        "enough: bring the folder with config.json and tokenizer.json."
    )


def _stage_folder(path: Path, folder: Path) -> _Staged:
    """Copy what a model is made of, once each of these files was looked into."""
    kept, others = model_files(path)
    require_sound(path, kept)
    _require_space(folder, sum((path / name).stat().st_size for name in kept))
    for name in kept:
        shutil.copyfile(path / name, folder / name)
    # Hashed, and later checked, is the copy: the folder may change meanwhile.
    fingerprint = fingerprint_folder(folder)
    return _Staged(fingerprint, "", "", tuple(map(shown, others)))


def _stage_gguf(path: Path, folder: Path) -> _Staged:
    facts = read_gguf(path)
    _require_space(folder, facts.parameters * (4 if facts.weights_dtype == "float32" else 2))
    convert_gguf(path, folder)
    return _Staged(fingerprint_file(path), facts.licence, facts.source, ())


def _require_space(folder: Path, size_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if size_bytes * _RESERVE > free:
        raise ModelFolderError(
            f"The model takes {size_bytes / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free below {folder.parent.parent}. "
            "Free some space, or set FINE_TUNE_DATA_DIR to a larger disk."
        )


@contextmanager
def _staging(base_models: Path) -> Iterator[Path]:
    """A folder on the same disk. One import at a time; what a killed one left behind is removed."""
    with locked(base_models / LOCK):
        for left in base_models.glob(f".{STAGING}*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f".{STAGING}", dir=base_models) as staging:
            yield Path(staging)


def _own_name(path: Path) -> str:
    """The name of the file or folder; in a Hugging Face cache, where folders are named by hashes, that of the repository."""
    if path.parent.name == "snapshots":
        return path.parent.parent.name.rpartition("--")[2]
    return re.sub(r"\.(zip|tar|tar\.gz|tgz|gguf)$", "", path.resolve().name, flags=re.IGNORECASE)


def _folder_name(name: str) -> str:
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
    if not cleaned:
        raise ModelFolderError(f"{shown(name)} can't be the name of a folder. Give one with --name.")
    return cleaned[:80]
