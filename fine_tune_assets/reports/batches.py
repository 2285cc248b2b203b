"""Lists batch folders and their files, and computes content fingerprints. Never interprets file contents."""

import os
import re
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_mapping

BATCH_FILE = "batch.yaml"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}", re.ASCII)
_UNFINISHED = (".partial", ".tmp")
SIDECARS = (".yaml", ".yml")
_SYSTEM_FOLDERS = frozenset({"__MACOSX"})
_DOCUMENTATION = re.compile(r"(README|SOURCE|LICEN[CS]E|NOTICE)(\.md|\.txt)?")
_NOT_A_FILE, _VANISHED, _UNREADABLE = "not a file", "vanished", "unreadable"
MISSING_STATES = frozenset({_NOT_A_FILE, _VANISHED, _UNREADABLE})
"""States recorded in place of a file's hash."""


class BatchFolderError(FineTuneError):
    """A batch folder is missing or can't be listed. An empty folder is valid: it withdraws the batch."""

    def __init__(self, batch: str, state: str) -> None:
        super().__init__(
            f"The folder of batch {batch} is {state}: nothing was read, and its tables are unchanged. Restore it or "
            "fix its permissions. To withdraw the batch, empty the folder but keep it."
        )
        self.version = fingerprint_mapping({".": state})


class IgnoreReason(StrEnum):
    """Why a file is not read as a report. Every file that is neither read nor unreadable has one."""

    HIDDEN = "hidden"
    UNFINISHED = "unfinished"
    DOCUMENTATION = "documentation"
    BATCH_FILE = "batch_file"
    SIDECAR = "sidecar"
    ARCHIVE = "archive"
    """Its entries count as files."""
    RESOURCES = "resources"
    """Contains only resources that reports in other files refer to, such as patients."""


@dataclass(frozen=True)
class BatchFiles:
    """Sorted relative paths of every file below a batch folder or in an archive."""

    readable: tuple[Path, ...]
    ignored: Mapping[Path, IgnoreReason]

    @property
    def count(self) -> int:
        return len(self.readable) + len(self.ignored)

    @property
    def versioned(self) -> tuple[Path, ...]:
        """Paths that determine the batch version: all files read, including `batch.yaml` and sidecars."""
        read_too = (
            path for path, reason in self.ignored.items() if reason in {IgnoreReason.BATCH_FILE, IgnoreReason.SIDECAR}
        )
        return (*read_too, *self.readable)

    def find_sidecar(self, path: Path) -> Path | None:
        """Return the metadata file of a path: `scan-12.yaml` for `scan-12.pdf`."""
        beside = (path.with_suffix(suffix) for suffix in SIDECARS)
        return next((sidecar for sidecar in beside if self.ignored.get(sidecar) is IgnoreReason.SIDECAR), None)


def list_batches(raw_reports: Path) -> list[str]:
    """Return the sorted names of the batch folders, without hidden and unfinished (`.partial`) ones."""
    if not raw_reports.is_dir():
        return []
    return sorted(p.name for p in raw_reports.iterdir() if is_batch_name(p.name) and p.is_dir() and not p.is_symlink())


@dataclass(frozen=True)
class StrayEntries:
    """Entries next to the batch folders that are not read."""

    folders: tuple[str, ...]
    """Folder names that are unfinished, invalid or links; hidden folders are excluded."""
    files: int


def find_stray_entries(raw_reports: Path) -> StrayEntries:
    """Find entries that were dropped in the wrong place. Files are only counted: their names may identify subjects."""
    if not raw_reports.is_dir():
        return StrayEntries((), 0)
    batches = set(list_batches(raw_reports))
    others = [p for p in raw_reports.iterdir() if p.name not in batches and not p.name.startswith(".")]
    folders = tuple(sorted(format_path(Path(p.name)) for p in others if p.is_dir()))
    return StrayEntries(folders, len(others) - len(folders))


def is_batch_name(name: str) -> bool:
    """Letters, digits, `-`, `_` and `.`, at most 100 characters: it becomes a partition key and a file name."""
    return _NAME.fullmatch(name) is not None and not name.endswith(_UNFINISHED)


def remove_unfinished_ending(name: str) -> str:
    """The name that the folder gets when its copy is complete.

    >>> remove_unfinished_ending("2026-05-cardiology.partial")
    '2026-05-cardiology'
    """
    ending = next((ending for ending in _UNFINISHED if name.endswith(ending)), "")
    return name.removesuffix(ending)


def list_files(folder: Path) -> BatchFiles:
    """List the files below a batch folder. Links are listed, never followed. Raises BatchFolderError."""
    paths: list[Path] = []
    refused: list[OSError] = []
    for root, folders, names in os.walk(folder, onerror=refused.append):
        paths += [Path(root, name) for name in names]
        paths += [Path(root, name) for name in folders if Path(root, name).is_symlink()]
    for error in refused:
        if Path(error.filename) == folder:
            is_gone = isinstance(error, FileNotFoundError | NotADirectoryError)
            raise BatchFolderError(folder.name, _VANISHED if is_gone else _UNREADABLE) from error
        paths.append(Path(error.filename))
    return classify_files({p.relative_to(folder) for p in paths}, is_batch_folder=True)


def classify_files(paths: Collection[Path], is_batch_folder: bool) -> BatchFiles:
    """Split paths into readable and ignored files. Only batch folders contain `batch.yaml`."""
    sorted_paths = sorted(paths, key=lambda p: p.as_posix())
    ignored = {
        path: reason for path in sorted_paths if (reason := _find_ignore_reason(path, is_batch_folder)) is not None
    }
    partners = {
        path.with_suffix("") for path in paths if path not in ignored and path.suffix.lower() not in (*SIDECARS, ".zip")
    }
    for path in sorted_paths:
        if path not in ignored and path.suffix in SIDECARS and path.with_suffix("") in partners:
            ignored[path] = IgnoreReason.SIDECAR
    return BatchFiles(tuple(path for path in sorted_paths if path not in ignored), ignored)


def format_path(path: Path) -> str:
    """Return the path as storable text, even if the name is not valid UTF-8."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def fingerprint_batch(folder: Path, hash_file: Callable[[Path], str] = fingerprint_file) -> str:
    """Fingerprint the names and contents of all files that are read, including `batch.yaml`.

    A missing or unreadable file contributes its state, so the fingerprint changes when the file is back.
    """
    try:
        return fingerprint_states(
            {path: read_file_state(folder / path, hash_file) for path in list_files(folder).versioned}
        )
    except BatchFolderError as error:
        return error.version


def fingerprint_states(states: Mapping[Path, str]) -> str:
    """Fingerprint a batch from the hash or state of each versioned file."""
    return fingerprint_mapping({format_path(path): state for path, state in states.items()})


def read_file_state(path: Path, hash_file: Callable[[Path], str] = fingerprint_file) -> str:
    """Return the file's hash or one of MISSING_STATES."""
    try:
        # Opening a pipe or device would block; a link could point outside the folder.
        return hash_file(path) if stat.S_ISREG(path.lstat().st_mode) else _NOT_A_FILE
    except FileNotFoundError:
        return _VANISHED
    except OSError:
        return _UNREADABLE


def _find_ignore_reason(path: Path, is_batch: bool) -> IgnoreReason | None:
    if any(part.startswith(".") or part in _SYSTEM_FOLDERS for part in path.parts):
        return IgnoreReason.HIDDEN
    if any(part.endswith(_UNFINISHED) for part in path.parts):
        return IgnoreReason.UNFINISHED
    if not is_batch or len(path.parts) > 1:
        return None
    if path.name == BATCH_FILE:
        return IgnoreReason.BATCH_FILE
    return IgnoreReason.DOCUMENTATION if _DOCUMENTATION.fullmatch(path.name) else None
