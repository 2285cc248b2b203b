"""Atomic file writes: written under a temporary name, synced to disk, then renamed.

Files contain report text, so they are created readable by their user only.
"""

import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from fine_tune_assets.core.fingerprints import fingerprint_folder

if TYPE_CHECKING:
    import pyarrow as pa

_FICLONE = 0x40049409
"""Linux's ioctl that clones a file (linux/fs.h); Btrfs and XFS have it."""
_COPY_BYTES = 16 * 2**20
_LOCK_POLL_SECONDS = 0.1
ROW_GROUP_ROWS = 1000
"""Small, since looking up one row by its id reads a whole group and a desk page must render in 200 ms."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it replaces `path`, on an error it is removed."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder with the same parent; on success it is renamed to `folder`.

    For content-addressed folders: an existing folder with the same content is kept, since it may be in use. One with other
    content is damaged and is replaced.
    """
    make_folder(folder.parent)
    temporary, damaged = (folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp") for _ in range(2))
    temporary.mkdir(mode=0o700)
    try:
        yield temporary
        if folder.exists() and fingerprint_folder(folder) == fingerprint_folder(temporary):
            return
        if folder.exists():
            os.replace(folder, damaged)
        os.replace(temporary, folder)
    finally:
        for path in (temporary, damaged):
            if path.exists():
                remove_folder(path, ignore_errors=True)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on this file while the block runs; other processes wait for it."""
    make_folder(path.parent)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def file_lock_within(path: Path, seconds: float) -> Iterator[bool]:
    """Hold an exclusive lock on this file while the block runs; yields False if it was not free within `seconds`."""
    make_folder(path.parent)
    deadline = time.monotonic() + seconds
    with path.open("w") as lock:
        while not (is_locked := _try_lock(lock)) and time.monotonic() < deadline:
            time.sleep(_LOCK_POLL_SECONDS)
        yield is_locked


def _try_lock(lock: IO[Any]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    with atomic_write(path) as temporary, open_private_file(temporary) as file:
        file.write(content)


def write_table(path: Path, table: "pa.Table") -> None:
    import pyarrow.parquet as pq  # not every process writes tables, and it takes 0.2 s

    with atomic_write(path) as temporary, open_private_file(temporary) as file:
        pq.write_table(table, file, row_group_size=ROW_GROUP_ROWS)


def copy_file(source: Path, target: Path) -> str:
    """Copy a file and return its SHA-256: weights are read once. Takes no space where the file system can clone."""
    with source.open("rb") as given, open_private_file(target) as target_file:
        try:
            fcntl.ioctl(target_file, _FICLONE, given.fileno())
            is_cloned = True
        except OSError:
            is_cloned = False
        digest = hashlib.sha256()
        while chunk := given.read(_COPY_BYTES):
            digest.update(chunk)
            if not is_cloned:
                target_file.write(chunk)
    return digest.hexdigest()


def make_read_only(folder: Path) -> None:
    """Files and folders that even this user must first make writable."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.chmod(0o500 if path.is_dir() else 0o400)
    folder.chmod(0o500)


def remove_folder(folder: Path, *, ignore_errors: bool = False) -> None:
    """Remove a folder, also a read-only one."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=ignore_errors)


def make_folder(folder: Path) -> None:
    """Create the folder and its missing parents for this user only. Existing folders keep their mode."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def open_private_file(path: Path) -> BinaryIO:
    """Create a file with mode 0600, since a later chmod would leave it readable while it is written.

    Raises FileExistsError, also for a link.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
