"""Unpacks an archive of model files: plain files into one folder, and nothing else.

Owns what an archive may hold. Refuses whatever could be written elsewhere, or fill the disk.
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
from fine_tune_assets.training.importing.scanning import shown

MOST_ENTRIES = 10_000
HIGHEST_RATIO = 50
"""Unpacked bytes a byte of the archive. Weights hardly shrink at all; text shrinks to a fifth."""
SMALL_BYTES = 64 << 20
"""Below that any ratio is harmless."""
_BLOCK = 1 << 20


@dataclass(frozen=True)
class _Entry:
    name: str
    is_folder: bool
    is_plain: bool
    size: int
    content: IO[bytes] | None


def is_archive(path: Path) -> bool:
    """Whether it is a ZIP, tar or gzipped tar archive, whatever its name."""
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack into the empty `folder`. Returns the folder of the model: a single folder at the top is stepped into.

    Raises ModelFolderError for a path that leads elsewhere, a link, a device, an encrypted entry, or too much in too little.
    """
    limit = max(SMALL_BYTES, archive.stat().st_size * HIGHEST_RATIO)
    written, seen = 0, set[str]()
    try:
        for number, entry in enumerate(_entries(archive), start=1):
            target = _target(entry, folder)
            if number > MOST_ENTRIES:
                raise ModelFolderError(f"The archive has more than {MOST_ENTRIES} entries.")
            if entry.is_folder or entry.content is None:
                continue
            if str(target).casefold() in seen:
                raise ModelFolderError(f"The archive has {shown(entry.name)} twice.")
            seen.add(str(target).casefold())
            target.parent.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(folder).free // 2  # what is unpacked is written once more
            written += _write(entry, target, min(limit - written, free))
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
    return found[0] if len(found) == 1 and found[0].is_dir() else folder


def _target(entry: _Entry, folder: Path) -> Path:
    path = PurePosixPath(entry.name)
    is_inside = not path.is_absolute() and ".." not in path.parts and not set(entry.name) & set("\\:\0")
    if not is_inside or not path.parts:
        raise ModelFolderError(f"The archive has an entry that leads out of it: {shown(entry.name)}.")
    if not entry.is_folder and not entry.is_plain:
        raise ModelFolderError(f"The archive has a link, a device or a sparse file: {shown(entry.name)}.")
    return folder.joinpath(*path.parts)


def _write(entry: _Entry, target: Path, limit: int) -> int:
    """Write what is really in the entry, not what it says; returns its bytes."""
    written = 0
    assert entry.content is not None
    with entry.content as source, os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > min(limit, entry.size):
                raise ModelFolderError(
                    f"The archive unpacks to more than it may at {shown(entry.name)}: it is made to fill the disk, or there is "
                    "too little space. Unpack it yourself and import the folder."
                )
            file.write(block)
    return written


def _entries(archive: Path) -> Iterator[_Entry]:
    return _zipped(archive) if zipfile.is_zipfile(archive) else _tarred(archive)


def _zipped(archive: Path) -> Iterator[_Entry]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            is_plain = kind in (0, stat.S_IFREG) and not info.is_dir()
            content = opened.open(info) if is_plain else None
            yield _Entry(info.filename, info.is_dir(), is_plain, info.file_size, content)


def _tarred(archive: Path) -> Iterator[_Entry]:
    with tarfile.open(archive, "r:*") as opened:
        for info in opened:
            is_plain = info.isreg() and not info.issparse()
            content = opened.extractfile(info) if is_plain else None
            yield _Entry(info.name, info.isdir(), is_plain, info.size, content)
