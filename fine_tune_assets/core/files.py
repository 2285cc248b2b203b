"""Files that are whole or absent: written aside under a temporary name, flushed to disk, then renamed.

Owns who may read them too: texts and tables hold text of reports, and are their user's alone from the first byte on.
"""

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.fingerprints import fingerprint_folder

ROW_GROUP_ROWS = 1000
"""Whoever looks one row up by its id reads one group: a page of the desk has 200 ms."""


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes `path`'s place, on an error it is removed."""
    make_folder(path.parent)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield aside
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def folder_written_aside(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`; on success it is renamed to `folder`.

    For content-addressed folders: one that exists already and holds the same content is kept, since it may be in use. One
    that holds anything else was damaged, and the new one takes its place.
    """
    make_folder(folder.parent)
    aside, damaged = (folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp") for _ in range(2))
    aside.mkdir(mode=0o700)
    try:
        yield aside
        if folder.exists() and fingerprint_folder(folder) == fingerprint_folder(aside):
            return
        if folder.exists():
            os.replace(folder, damaged)
        os.replace(aside, folder)
    finally:
        for left in (aside, damaged):
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock in this file while the block runs; another process waits for it."""
    make_folder(path.parent)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    with written_aside(path) as aside, new_private_file(aside) as file:
        file.write(content)


def write_table(path: Path, table: pa.Table) -> None:
    with written_aside(path) as aside, new_private_file(aside) as file:
        pq.write_table(table, file, row_group_size=ROW_GROUP_ROWS)


def make_folder(folder: Path) -> None:
    """Make the folder and those above it that are missing, for their user only; one that is there stays as it is."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def new_private_file(path: Path) -> BinaryIO:
    """For its user only from the first byte on: a change of mode after the write would leave the text open to all while it is
    written. Raises FileExistsError, also for a link."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
