"""Batch folders: which there are, which files they hold, and what their content's fingerprint is.

Owns names and hashes. Does not know what is in the files.
"""

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
_MADE_BY_SYSTEMS = frozenset({"__MACOSX"})
_ABOUT_THE_BATCH = re.compile(r"(README|SOURCE|LICEN[CS]E|NOTICE)(\.md|\.txt)?")
_NOT_A_FILE, _VANISHED, _UNREADABLE = "not a file", "vanished", "unreadable"
STATES = frozenset({_NOT_A_FILE, _VANISHED, _UNREADABLE})
"""What stands in the place of a file's hash where there is none."""


class BatchFolderError(FineTuneError):
    """A batch folder is gone or can't be listed. An empty folder is no error: it is how a batch is withdrawn."""

    def __init__(self, batch: str, state: str) -> None:
        super().__init__(
            f"The folder of batch {batch} is {state}: nothing was read, and its tables stay as they are. Put it back, or "
            "repair its permissions; to withdraw the batch, leave the folder and empty it."
        )
        self.version = fingerprint_mapping({".": state})


class Ignored(StrEnum):
    """Why a file is no report. Every file that is neither read nor quarantined has one of these."""

    HIDDEN = "hidden"
    UNFINISHED = "unfinished"
    ABOUT_THE_BATCH = "about_the_batch"
    BATCH_FILE = "batch_file"
    SIDECAR = "sidecar"
    ARCHIVE = "archive"
    """Its entries count as files of their own."""
    RESOURCES = "resources"
    """It holds only what reports in other files refer to, such as patients."""


@dataclass(frozen=True)
class BatchFiles:
    """Every file below a batch folder or in an archive, as sorted relative paths."""

    to_read: tuple[Path, ...]
    ignored: Mapping[Path, Ignored]

    @property
    def count(self) -> int:
        return len(self.to_read) + len(self.ignored)

    @property
    def decisive(self) -> tuple[Path, ...]:
        """What the batch's version is made of: all that is read, `batch.yaml` and sidecars included."""
        read_too = (path for path, why in self.ignored.items() if why in {Ignored.BATCH_FILE, Ignored.SIDECAR})
        return (*read_too, *self.to_read)

    def sidecar_of(self, path: Path) -> Path | None:
        """`scan-12.yaml` beside `scan-12.pdf`: the facts about it."""
        beside = (path.with_suffix(suffix) for suffix in SIDECARS)
        return next((sidecar for sidecar in beside if self.ignored.get(sidecar) is Ignored.SIDECAR), None)


def list_batches(raw_reports: Path) -> list[str]:
    """Names of the batch folders, sorted. A hidden or unfinished name (`.partial`) is not one yet."""
    if not raw_reports.is_dir():
        return []
    return sorted(p.name for p in raw_reports.iterdir() if is_batch_name(p.name) and p.is_dir() and not p.is_symlink())


@dataclass(frozen=True)
class NotBatches:
    """What lies beside the batch folders and is not read."""

    folders: tuple[str, ...]
    """Names of folders, without the hidden ones: unfinished, misnamed, or a link."""
    files: int


def list_not_batches(raw_reports: Path) -> NotBatches:
    """What people may have dropped in vain. Files are only counted: their names could be patients'."""
    if not raw_reports.is_dir():
        return NotBatches((), 0)
    batches = set(list_batches(raw_reports))
    others = [p for p in raw_reports.iterdir() if p.name not in batches and not p.name.startswith(".")]
    folders = tuple(sorted(shown_path(Path(p.name)) for p in others if p.is_dir()))
    return NotBatches(folders, len(others) - len(folders))


def is_batch_name(name: str) -> bool:
    """Letters, digits, `-`, `_` and `.`, at most 100: it becomes a partition key and a file name."""
    return _NAME.fullmatch(name) is not None and not name.endswith(_UNFINISHED)


def list_files(folder: Path) -> BatchFiles:
    """What is to be read and what is not. Links are listed, never followed. Raises BatchFolderError."""
    found: list[Path] = []
    refused: list[OSError] = []
    for root, folders, names in os.walk(folder, onerror=refused.append):
        found += [Path(root, name) for name in names]
        found += [Path(root, name) for name in folders if Path(root, name).is_symlink()]
    for error in refused:
        if Path(error.filename) == folder:
            is_gone = isinstance(error, FileNotFoundError | NotADirectoryError)
            raise BatchFolderError(folder.name, _VANISHED if is_gone else _UNREADABLE) from error
        found.append(Path(error.filename))
    return sort_out({p.relative_to(folder) for p in found}, is_batch=True)


def sort_out(paths: Collection[Path], is_batch: bool) -> BatchFiles:
    """Which of these files are to be read, and why the others are not. Only a batch folder has files about itself."""
    sorted_paths = sorted(paths, key=lambda p: p.as_posix())
    ignored = {path: why for path in sorted_paths if (why := _ignored(path, is_batch)) is not None}
    partners = {
        path.with_suffix("") for path in paths if path not in ignored and path.suffix.lower() not in (*SIDECARS, ".zip")
    }
    for path in sorted_paths:
        if path not in ignored and path.suffix in SIDECARS and path.with_suffix("") in partners:
            ignored[path] = Ignored.SIDECAR
    return BatchFiles(tuple(path for path in sorted_paths if path not in ignored), ignored)


def shown_path(path: Path) -> str:
    """The path as text that can be stored, even if the file's name is not valid UTF-8."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def fingerprint_batch(folder: Path, hash_file: Callable[[Path], str] = fingerprint_file) -> str:
    """Fingerprint of the names and contents of what is read, `batch.yaml` included.

    A file or folder that vanishes or can't be opened counts as that, so the fingerprint changes once it is back.
    """
    try:
        return version_of({path: file_state(folder / path, hash_file) for path in list_files(folder).decisive})
    except BatchFolderError as error:
        return error.version


def version_of(states: Mapping[Path, str]) -> str:
    """The fingerprint of a batch whose decisive files have these hashes or states."""
    return fingerprint_mapping({shown_path(path): state for path, state in states.items()})


def file_state(path: Path, hash_file: Callable[[Path], str] = fingerprint_file) -> str:
    """The file's hash, or one of STATES."""
    try:
        # A pipe or a device would block for ever, a link could lead anywhere.
        return hash_file(path) if stat.S_ISREG(path.lstat().st_mode) else _NOT_A_FILE
    except FileNotFoundError:
        return _VANISHED
    except OSError:
        return _UNREADABLE


def _ignored(path: Path, is_batch: bool) -> Ignored | None:
    if any(part.startswith(".") or part in _MADE_BY_SYSTEMS for part in path.parts):
        return Ignored.HIDDEN
    if any(part.endswith(_UNFINISHED) for part in path.parts):
        return Ignored.UNFINISHED
    if not is_batch or len(path.parts) > 1:
        return None
    if path.name == BATCH_FILE:
        return Ignored.BATCH_FILE
    return Ignored.ABOUT_THE_BATCH if _ABOUT_THE_BATCH.fullmatch(path.name) else None
