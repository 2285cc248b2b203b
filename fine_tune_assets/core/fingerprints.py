"""Content fingerprints: the same content has the same fingerprint on every machine.

Fingerprints are SHA-256 in hexadecimal, keyed hashes are HMAC-SHA-256. A cached file hash is valid until the file's size or times
change; for evidence and stored records, each step hashes files again.
"""

import hashlib
import hmac
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fine_tune_assets.core.errors import ChangedFolderError

if TYPE_CHECKING:
    import pyarrow as pa

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
    """Fingerprint of the names, sizes and modification times of a file, or of all files below a folder.

    A cheap sign that content may have changed, for folders too large to hash at every check. Raises OSError if `path` is missing.
    """
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return fingerprint_json([(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files])


FileStates = dict[str, tuple[int, ...]]
"""Relative path → inode, size and times."""


def read_states(path: Path) -> FileStates:
    """The states of a file, or of a folder and all files below it; links are followed. ctime can't be set back by a program.

    Raises OSError.
    """
    states: FileStates = {}
    for one in (path, *sorted(path.rglob("*"))):
        state = one.stat() if one.exists() else one.lstat()
        states[str(one.relative_to(path))] = (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    return states


def require_unchanged_folder(folder: Path, fingerprint: str, what: str) -> None:
    """Raise ChangedFolderError unless the content of `folder` has this fingerprint."""
    if not folder.is_dir() or fingerprint_folder(folder) != fingerprint:
        raise ChangedFolderError(
            f"The content of the {what} {folder.name} differs from its recorded fingerprint {short(fingerprint)}. Restore it "
            "from a backup, or build it again with `fine-tune materialize ASSET`."
        )


def fingerprint_mapping(hashes: Mapping[str, str]) -> str:
    return fingerprint_json(dict(hashes))


def fingerprint_table(table: "pa.Table") -> str:
    """Fingerprint of columns and rows in their order, independent of chunking and the Parquet writer's version."""
    digest = hashlib.sha256(repr([(f.name, str(f.type)) for f in table.schema]).encode())
    for batch in table.to_batches(max_chunksize=1024):
        for row in batch.to_pylist():
            digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False, default=str).encode())
            digest.update(b"\n")
    return digest.hexdigest()


def keyed_hash(key: bytes, value: str) -> str:
    """HMAC-SHA-256 of `value`: without the key, it can't be found by trying candidates."""
    return hmac.new(key, value.encode("utf-8"), hashlib.sha256).hexdigest()


def short(fingerprint: str) -> str:
    return fingerprint[:SHORT_LENGTH]


def combine(parts: Iterable[str]) -> str:
    """One fingerprint of several; their order matters."""
    return fingerprint_json(list(parts))


SETTLE_NS = 2_000_000_000
"""Timestamps are coarse (2 s on FAT): a file that was just written can change again without a new timestamp."""
FileIdentity = tuple[int, int, int, int]


class FileHashCache:
    """`fingerprint_file` with a cache of `max_files` entries, about 400 bytes each.

    A full cache keeps its entries: a scan of one file more than fits would otherwise hash every file each time. Once per
    `max_files` hashes, the entries of deleted files leave.
    """

    def __init__(self, max_files: int, now_ns: Callable[[], int]) -> None:
        self._max_files = max_files
        self._now_ns = now_ns
        self._cached: dict[str, tuple[FileIdentity, str]] = {}
        self._misses_while_full = 0

    def __len__(self) -> int:
        return len(self._cached)

    def __call__(self, path: Path) -> str:
        """The file's SHA-256. Raises OSError."""
        name = os.fspath(path)
        before, is_settled = _read_identity(path, self._now_ns())
        cached = self._cached.get(name)
        if cached is not None and cached[0] == before:
            return cached[1]
        fingerprint = fingerprint_file(path)
        if is_settled and _read_identity(path, self._now_ns())[0] == before:
            self._remember(name, before, fingerprint)
        return fingerprint

    def _remember(self, name: str, identity: FileIdentity, fingerprint: str) -> None:
        if name not in self._cached and len(self._cached) >= self._max_files:
            if self._misses_while_full % self._max_files == 0:
                self._cached = {known: entry for known, entry in self._cached.items() if os.path.exists(known)}
            self._misses_while_full += 1
            if len(self._cached) >= self._max_files:
                return
        self._cached[name] = identity, fingerprint


class FileHashMemo:
    """Hashes each file once, even under several names: for one step that hashes the same files repeatedly."""

    def __init__(self) -> None:
        self._cached: dict[tuple[int, ...], str] = {}

    def __call__(self, path: Path) -> str:
        """The file's SHA-256. Raises OSError."""
        identity = self._identify(path)
        if identity not in self._cached:
            self._cached[identity] = fingerprint_file(path)
        return self._cached[identity]

    def remember(self, path: Path, fingerprint: str) -> None:
        """Keep the SHA-256 of a file that was just written."""
        self._cached[self._identify(path)] = fingerprint

    @staticmethod
    def _identify(path: Path) -> tuple[int, ...]:
        state = path.stat()
        return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _read_identity(path: Path, now_ns: int) -> tuple[FileIdentity, bool]:
    state = path.stat()
    # Unlike mtime, ctime can't be set back by a program.
    identity = state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino
    return identity, now_ns - max(state.st_mtime_ns, state.st_ctime_ns) >= SETTLE_NS
