"""Batch folders: which there are, which files they hold, and what their content's fingerprint is.

Owns names and hashes. Does not know what is in the files.
"""

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_mapping

BATCH_FILE = "batch.yaml"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}", re.ASCII)
_UNFINISHED = (".partial", ".tmp")
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


@dataclass(frozen=True)
class BatchFiles:
    """Every file below a batch folder, as sorted relative paths."""

    to_read: tuple[Path, ...]
    ignored: tuple[Path, ...]

    @property
    def count(self) -> int:
        return len(self.to_read) + len(self.ignored)

    @property
    def decisive(self) -> tuple[Path, ...]:
        """What the batch's version is made of: all that is read, `batch.yaml` included."""
        return (Path(BATCH_FILE), *self.to_read) if Path(BATCH_FILE) in self.ignored else self.to_read


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
    relative = sorted({p.relative_to(folder) for p in found}, key=lambda p: p.as_posix())
    return BatchFiles(
        to_read=tuple(p for p in relative if not _is_ignored(p)),
        ignored=tuple(p for p in relative if _is_ignored(p)),
    )


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


def _is_ignored(path: Path) -> bool:
    is_hidden = any(part.startswith(".") or part.endswith(_UNFINISHED) for part in path.parts)
    is_about_the_batch = path.name == BATCH_FILE or _ABOUT_THE_BATCH.fullmatch(path.name) is not None
    return is_hidden or (len(path.parts) == 1 and is_about_the_batch)
