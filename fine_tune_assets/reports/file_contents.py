"""Reads and decodes a batch's files within size limits, and records the version of the bytes read."""

import base64
import binascii
import errno
import os
import re
import stat
from pathlib import Path
from typing import Protocol

from fine_tune_assets.core.fingerprints import fingerprint_bytes
from fine_tune_assets.reports.batches import MISSING_STATES, BatchFiles, fingerprint_states, read_file_state
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason

# Control characters that text files never contain; about one byte in ten of a binary file is one.
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MAX_CONTROL_FRACTION = 0.02


class Contents(Protocol):
    """A source of files: a batch folder or an archive in it."""

    files: BatchFiles

    def read(self, path: Path, max_bytes: int) -> bytes:
        """Raises UnreadableError."""

    def size(self, path: Path) -> int | None:
        """Size in bytes; None if the file does not exist."""


class BatchContents:
    """Reads the files of a batch folder and records the hashes of the bytes read.

    Hashing the folder before and after the read would miss a file or folder that changed and changed back in between.
    """

    def __init__(self, folder: Path, files: BatchFiles) -> None:
        self.files = files
        self._folder = folder
        self._seen: dict[Path, str] = {}

    def read(self, path: Path, max_bytes: int) -> bytes:
        """Raises UnreadableError."""
        try:
            content = read_content(self._folder / path, max_bytes)
        except UnreadableError as error:
            if error.reason is not UnreadableReason.TOO_LARGE:
                now = read_file_state(self._folder / path)
                self._seen[path] = now if now in MISSING_STATES else "came back"
            raise
        now = fingerprint_bytes(content)
        # Files read twice, such as FHIR resources, must have the same bytes both times.
        self._seen[path] = now if self._seen.get(path, now) == now else "changed meanwhile"
        if not content.strip():
            raise UnreadableError(UnreadableReason.EMPTY, "The file is empty.")
        return content

    def size(self, path: Path) -> int | None:
        try:
            return (self._folder / path).lstat().st_size
        except OSError:
            return None

    def fingerprint(self) -> str:
        """Return `fingerprint_batch` of the bytes read; files not read yet are hashed now."""
        return fingerprint_states(
            {p: self._seen.get(p) or read_file_state(self._folder / p) for p in self.files.versioned}
        )


def read_content(path: Path, max_bytes: int) -> bytes:
    """Raises UnreadableError. A file above the limit is never loaded into memory."""
    try:
        # Don't follow links out of the folder, and don't block on a pipe without a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise UnreadableError(
            UnreadableReason.FILE_MISSING, "The file disappeared before it was read. Add it again."
        ) from error
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            raise _not_a_file_error() from error
        raise _unreadable_error(error) from error
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise _not_a_file_error()
        if state.st_size > max_bytes:
            raise _too_large_error(max_bytes)
        try:
            content = file.read(max_bytes + 1)
        except OSError as error:
            raise _unreadable_error(error) from error
    if len(content) > max_bytes:  # it grew after fstat
        raise _too_large_error(max_bytes)
    return content


def require_text(content: bytes) -> None:
    """Raise UnreadableError for binary content, such as an image, archive or office file."""
    if b"\x00" in content or len(_CONTROL.findall(content)) > _MAX_CONTROL_FRACTION * len(content):
        raise UnreadableError(UnreadableReason.NOT_TEXT, "The file is binary. Export it as UTF-8 text.")


def decode_text(content: bytes) -> str:
    """Decode UTF-8 with `\\n` line ends and without a byte-order mark. Raises UnreadableError."""
    require_text(content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError(
            UnreadableReason.INVALID_UTF8, f"Byte {error.start + 1} is not valid UTF-8. Save the file as UTF-8."
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decode_base64(data: str, validate: bool) -> bytes:
    """Decode an attachment; `validate` rejects characters outside the Base64 alphabet. Raises UnreadableError."""
    try:
        return base64.b64decode(data, validate=validate)
    except binascii.Error as error:
        raise UnreadableError(
            UnreadableReason.CORRUPT_FILE, "The attachment is not valid Base64. Export it again."
        ) from error


def _not_a_file_error() -> UnreadableError:
    return UnreadableError(
        UnreadableReason.NOT_A_FILE, "The path is a link, folder or device. Copy the file itself here."
    )


def _too_large_error(max_bytes: int) -> UnreadableError:
    return UnreadableError(UnreadableReason.TOO_LARGE, f"The file is larger than {max_bytes} bytes. Split it.")


def _unreadable_error(error: OSError) -> UnreadableError:
    name = errno.errorcode.get(error.errno or 0, "unknown error")
    return UnreadableError(
        UnreadableReason.UNREADABLE, f"The operating system can't read the file ({name}). Check its permissions."
    )
