"""ZIP archives, whose entries count as files, and the limits on the size and duration of a read.

Entries are never unpacked to disk, which rules out path traversal. A file above a limit becomes unreadable; its batch continues.
"""

import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath

from fine_tune_assets.reports.batches import BatchFiles, classify_files
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason

_ENCRYPTED = 0x1


@dataclass(frozen=True)
class ArchiveLimits:
    max_entries: int = 10_000
    max_unpacked_bytes: int = 2_000_000_000
    """Sum over all entries. Entries are read one at a time, so this limits time, not memory."""
    max_compression_ratio: int = 200
    """Unpacked size divided by packed size. Text and HL7 reach 30, a zip bomb 1,000 or more."""
    max_depth: int = 2
    """Archives nested more deeply are rejected."""


class ArchiveContents:
    """The entries of an archive in memory; the counterpart of BatchContents."""

    def __init__(self, content: bytes, limits: ArchiveLimits) -> None:
        """Raises UnreadableError if the archive is corrupt, unsafe or above a limit."""
        self._zip = _open_archive(content)
        entries = [entry for entry in self._zip.infolist() if not entry.is_dir()]
        _check_limits(entries, len(content), limits)
        self._entries = {_entry_path(entry): entry for entry in entries}
        if len(self._entries) < len(entries):
            raise _unsafe_error("Two entries of the archive have the same name.")
        self.files: BatchFiles = classify_files(self._entries, is_batch_folder=False)

    def read(self, path: Path, max_bytes: int) -> bytes:
        """Raises UnreadableError."""
        entry = self._entries[path]
        if entry.flag_bits & _ENCRYPTED:
            raise UnreadableError(
                UnreadableReason.ENCRYPTED, "The entry is password-protected. Create the archive without a password."
            )
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise UnreadableError(UnreadableReason.NOT_A_FILE, "The entry is a symbolic link. Add the file itself.")
        if entry.file_size > max_bytes:
            raise UnreadableError(UnreadableReason.TOO_LARGE, f"The entry is larger than {max_bytes} bytes. Split it.")
        content = self._unpack(entry, max_bytes)
        if not content.strip():
            raise UnreadableError(UnreadableReason.EMPTY, "The entry is empty.")
        return content

    def size(self, path: Path) -> int | None:
        return self._entries[path].file_size if path in self._entries else None

    def _unpack(self, entry: zipfile.ZipInfo, largest_bytes: int) -> bytes:
        try:
            with self._zip.open(entry) as file:
                # The declared size may be wrong, so never read more than one byte beyond it.
                content = file.read(min(entry.file_size, largest_bytes) + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, struct.error, RuntimeError) as error:
            raise UnreadableError(
                UnreadableReason.CORRUPT_FILE,
                "The entry is corrupt or uses an unsupported compression method. Create the archive again.",
            ) from error
        if len(content) > entry.file_size:
            raise _unsafe_error("An entry is larger than the archive declares.")
        return content


def _open_archive(content: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(BytesIO(content))
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, OverflowError) as error:
        raise UnreadableError(
            UnreadableReason.CORRUPT_FILE, "The file is not a valid ZIP archive. Create it again."
        ) from error


def _check_limits(entries: list[zipfile.ZipInfo], packed: int, limits: ArchiveLimits) -> None:
    if not entries:
        raise UnreadableError(UnreadableReason.EMPTY, "The archive contains no files.")
    if len(entries) > limits.max_entries:
        raise _unsafe_error(f"The archive has more than {limits.max_entries} entries. Split it.")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > limits.max_unpacked_bytes:
        raise _unsafe_error(f"The archive unpacks to more than {limits.max_unpacked_bytes} bytes. Split it.")
    # Below one megabyte, highly compressible text is harmless.
    if unpacked > max(packed, 5_000) * limits.max_compression_ratio:
        raise _unsafe_error(f"The archive unpacks to more than {limits.max_compression_ratio} times its size.")
    if any(_is_path_traversal(entry.filename) for entry in entries):
        raise _unsafe_error("The path of an entry points outside the archive.")


def _is_path_traversal(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or (len(name) > 1 and name[1] == ":") or "\x00" in name


def _entry_path(entry: zipfile.ZipInfo) -> Path:
    return Path(entry.filename.replace("\\", "/"))


def _unsafe_error(detail: str) -> UnreadableError:
    return UnreadableError(UnreadableReason.UNSAFE_ARCHIVE, detail)


@dataclass(frozen=True)
class ReadLimits:
    max_file_bytes: int = 50_000_000
    """Larger files are not read. Reading takes about ten times the file's size in memory."""
    max_report_characters: int = 500_000
    """Longer reports are not read: spaCy rejects texts above 1,000,000 characters, which would fail the whole batch."""
    file_timeout_seconds: float = 300.0
    """Per file. OCR takes about 3 s per page on one core."""
    file_cpu_seconds: int = 120
    """Per file, without OCR."""
    max_memory_bytes: int = 4_000_000_000
    """Address space of the process that reads a batch."""
    archives: ArchiveLimits = field(default_factory=ArchiveLimits)
