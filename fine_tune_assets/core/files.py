"""Files that are whole or absent: written aside under a temporary name, flushed to disk, then renamed."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.fingerprints import fingerprint_folder


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes `path`'s place, on an error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
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
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside, damaged = (folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp") for _ in range(2))
    aside.mkdir()
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


def write_text(path: Path, text: str) -> None:
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")
        aside.chmod(0o600)  # exports hold text of reports


def write_table(path: Path, table: pa.Table) -> None:
    with written_aside(path) as aside:
        pq.write_table(table, aside)
        aside.chmod(0o600)  # tables of the first stages hold raw report text
