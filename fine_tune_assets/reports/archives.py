"""ZIP archives, their entries as files of their own, and the limits on how much of a file is read, and for how long.

Nothing is ever unpacked to disk, so that no name can lead anywhere. What lies above a limit is quarantined, so that no file stops
its batch.
"""

import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath

from fine_tune_assets.reports.batches import BatchFiles, sort_out
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError

_ENCRYPTED = 0x1


@dataclass(frozen=True)
class ArchiveLimits:
    most_entries: int = 10_000
    most_bytes: int = 2_000_000_000
    """Of all entries unpacked. They are read one by one, so this is time, not memory."""
    most_ratio: int = 200
    """Unpacked to packed. Text and HL7 reach 30; a bomb 1,000 and more."""
    deepest: int = 2
    """An archive in an archive in an archive is refused."""


class ArchiveContents:
    """Reads the entries of one archive. Like BatchContents, but for what is in memory already."""

    def __init__(self, content: bytes, limits: ArchiveLimits) -> None:
        """Raises UnreadableError if the archive as a whole can't be trusted."""
        self._zip = _opened(content)
        entries = [entry for entry in self._zip.infolist() if not entry.is_dir()]
        _check(entries, len(content), limits)
        self._entries = {_path(entry): entry for entry in entries}
        if len(self._entries) < len(entries):
            raise _unsafe("Two of its entries have the same name.")
        self.files: BatchFiles = sort_out(self._entries, is_batch=False)

    def read(self, path: Path, largest_bytes: int) -> bytes:
        """The entry's bytes. Raises UnreadableError."""
        entry = self._entries[path]
        if entry.flag_bits & _ENCRYPTED:
            raise UnreadableError(Reason.ENCRYPTED, "The archive protects it with a password. Pack it without one.")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise UnreadableError(Reason.NOT_A_FILE, "It is a link. Pack the file itself.")
        if entry.file_size > largest_bytes:
            raise UnreadableError(Reason.TOO_LARGE, f"It is larger than {largest_bytes} bytes. Split it.")
        content = self._unpack(entry, largest_bytes)
        if not content.strip():
            raise UnreadableError(Reason.EMPTY, "There is nothing in it.")
        return content

    def size(self, path: Path) -> int | None:
        return self._entries[path].file_size if path in self._entries else None

    def _unpack(self, entry: zipfile.ZipInfo, largest_bytes: int) -> bytes:
        try:
            with self._zip.open(entry) as file:
                # What the entry says of its size may be wrong: never more than that is unpacked.
                content = file.read(min(entry.file_size, largest_bytes) + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, struct.error, RuntimeError) as error:
            raise UnreadableError(
                Reason.CORRUPT_FILE,
                "The archive holds it damaged, or packed in a way that is not known. Pack it again.",
            ) from error
        if len(content) > entry.file_size:
            raise _unsafe("It is larger than the archive says.")
        return content


def _opened(content: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(BytesIO(content))
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, OverflowError) as error:
        raise UnreadableError(Reason.CORRUPT_FILE, "It is no ZIP archive, or a damaged one. Pack it again.") from error


def _check(entries: list[zipfile.ZipInfo], packed: int, limits: ArchiveLimits) -> None:
    if not entries:
        raise UnreadableError(Reason.EMPTY, "There is no file in it.")
    if len(entries) > limits.most_entries:
        raise _unsafe(f"It has more than {limits.most_entries} entries. Split it.")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > limits.most_bytes:
        raise _unsafe(f"Its entries have more than {limits.most_bytes} bytes. Split it.")
    # Below a megabyte a file of blanks is no bomb yet.
    if unpacked > max(packed, 5_000) * limits.most_ratio:
        raise _unsafe(f"It unpacks to more than {limits.most_ratio} times its size.")
    if any(_is_outside(entry.filename) for entry in entries):
        raise _unsafe("The name of an entry leads out of the archive.")


def _is_outside(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or (len(name) > 1 and name[1] == ":") or "\x00" in name


def _path(entry: zipfile.ZipInfo) -> Path:
    return Path(entry.filename.replace("\\", "/"))


def _unsafe(detail: str) -> UnreadableError:
    return UnreadableError(Reason.UNSAFE_ARCHIVE, detail)


@dataclass(frozen=True)
class ReadLimits:
    largest_file_bytes: int = 50_000_000
    """A file above it is not read. Reading takes about ten times its size in memory."""
    longest_report_characters: int = 500_000
    """A report above it is not taken: spaCy refuses a text of more than 1,000,000, and with it the report's whole batch."""
    document_seconds: float = 300.0
    """A PDF, DOCX, RTF, HTML or C-CDA file that takes longer is not read. OCR takes about 3 s a page on one core."""
    document_memory_bytes: int = 4_000_000_000
    """Address space of the process that reads such a file."""
    archives: ArchiveLimits = field(default_factory=ArchiveLimits)
