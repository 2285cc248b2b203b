"""Unpacks the files of a model from an archive, and nothing else.

Owns finding them: listed names, at the top or in one folder. Other entries are named and never written.
"""

import gzip
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.training.importing.model_files import is_listed, shown

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
