"""Content fingerprints: the same content has the same fingerprint on every machine.

Bytes, JSON values, files, folders and tables are hashed with SHA-256 (hexadecimal), keyed hashes are HMAC-SHA-256. A remembered
hash of a file holds until its size or times change; for evidence and for what is stored, files are hashed anew in each step.
"""

import hashlib
import hmac
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.errors import ChangedFolderError

SHORT_LENGTH = 16
"""Characters of a fingerprint used in folder names and ids: 64 bits, no collision expected below a billion items."""


def fingerprint_bytes(content: bytes) -> str:
    """SHA-256 of `content`, 64 hexadecimal characters."""
    return hashlib.sha256(content).hexdigest()


def fingerprint_text(text: str) -> str:
    return fingerprint_bytes(text.encode("utf-8"))


def fingerprint_json(value: Any) -> str:
    """Fingerprint of a JSON value; the order of keys does not matter."""
    return fingerprint_text(json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")))


def fingerprint_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint_files(folder: Path) -> dict[str, str]:
    """Relative POSIX path → SHA-256 of every file below `folder`, in sorted order."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): fingerprint_file(p) for p in files}


def fingerprint_folder(folder: Path) -> str:
    """Fingerprint of the names and contents of every file below `folder`."""
    return fingerprint_mapping(fingerprint_files(folder))


def fingerprint_listing(path: Path) -> str:
    """Fingerprint of the names, sizes and times of change of a file, or of all files below a folder.

    A cheap sign that content may have changed, for folders too large to be read at every look. Raises OSError if there is
    nothing at `path`.
    """
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return fingerprint_json([(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files])


def require_folder(folder: Path, fingerprint: str, what: str) -> None:
    """Raise ChangedFolderError unless `folder` still has the content that `fingerprint` stands for."""
    if not folder.is_dir() or fingerprint_folder(folder) != fingerprint:
        raise ChangedFolderError(
            f"The {what} {folder.name} is not the one on record ({short(fingerprint)}): restore it, "
            "or make it again: `fine-tune materialize ASSET`."
        )


def fingerprint_mapping(hashes: Mapping[str, str]) -> str:
    return fingerprint_json(dict(hashes))


def fingerprint_table(table: pa.Table) -> str:
    """Fingerprint of a table's columns and rows in their order; chunking and the Parquet writer's version do not matter."""
    digest = hashlib.sha256(repr([(f.name, str(f.type)) for f in table.schema]).encode())
    for batch in table.to_batches(max_chunksize=1024):
        for row in batch.to_pylist():
            digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False, default=str).encode())
            digest.update(b"\n")
    return digest.hexdigest()


def keyed_hash(key: bytes, value: str) -> str:
    """HMAC-SHA-256 of `value`: without the key nobody can find the value by trying candidates."""
    return hmac.new(key, value.encode("utf-8"), hashlib.sha256).hexdigest()


def short(fingerprint: str) -> str:
    return fingerprint[:SHORT_LENGTH]


def combine(parts: Iterable[str]) -> str:
    """One fingerprint of several, in the order given."""
    return fingerprint_json(list(parts))


SETTLED_NS = 2_000_000_000
"""Timestamps are coarse, on FAT two seconds: a file that changed just now may change once more without another time."""
Identity = tuple[int, int, int, int]


class RememberedHashes:
    """`fingerprint_file` with a memory of `most` files, about 400 bytes each."""

    def __init__(self, most: int, now_ns: Callable[[], int]) -> None:
        self._most = most
        self._now_ns = now_ns
        self._known: dict[str, tuple[Identity, str]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __call__(self, path: Path) -> str:
        """The file's SHA-256. Raises OSError."""
        name = os.fspath(path)
        before, is_settled = _look(path, self._now_ns())
        known = self._known.get(name)
        if known is not None and known[0] == before:
            return known[1]
        found = fingerprint_file(path)
        if is_settled and _look(path, self._now_ns())[0] == before:
            if len(self._known) >= self._most:
                self._known.clear()  # files that are gone would fill it for ever
            self._known[name] = before, found
        return found


class HashedOnce:
    """Reads a file once, by whatever names it is asked for: for one step that looks at the same files several times."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], str] = {}

    def __call__(self, path: Path) -> str:
        """The file's SHA-256. Raises OSError."""
        state = path.stat()
        identity = state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
        if identity not in self._known:
            self._known[identity] = fingerprint_file(path)
        return self._known[identity]


def _look(path: Path, now_ns: int) -> tuple[Identity, bool]:
    state = path.stat()
    # Unlike the time of modification, that of the last change (ctime) can't be set back by a program.
    identity = state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino
    return identity, now_ns - max(state.st_mtime_ns, state.st_ctime_ns) >= SETTLED_NS
