"""The bytes of a batch's files, or the reason why they can't be had; and the text that they spell.

Owns the limits on size and form, and the version of what was read. Does not know what the text says.
"""

import base64
import binascii
import errno
import os
import re
import stat
from pathlib import Path
from typing import Protocol

from fine_tune_assets.core.fingerprints import fingerprint_bytes
from fine_tune_assets.reports.batches import STATES, BatchFiles, file_state, version_of
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError

# Characters that no text editor writes. One binary byte in ten is such a character; in text it is none.
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MOST_CONTROL_FRACTION = 0.02


class Contents(Protocol):
    """Where files come from: a batch folder, or an archive in one."""

    files: BatchFiles

    def read(self, path: Path, largest_bytes: int) -> bytes:
        """The file's bytes. Raises UnreadableError."""

    def size(self, path: Path) -> int | None:
        """Its size, or None where there is none."""


class BatchContents:
    """Reads the files of a batch folder and remembers what it saw.

    Its version is that of the very bytes that were read. A look at the folder before and one after would both miss a file
    that was written again, or a folder that was away, just in between.
    """

    def __init__(self, folder: Path, files: BatchFiles) -> None:
        self.files = files
        self._folder = folder
        self._seen: dict[Path, str] = {}

    def read(self, path: Path, largest_bytes: int) -> bytes:
        """The file's bytes. Raises UnreadableError."""
        try:
            content = read_content(self._folder / path, largest_bytes)
        except UnreadableError as error:
            if error.reason is not Reason.TOO_LARGE:
                now = file_state(self._folder / path)
                self._seen[path] = now if now in STATES else "came back"
            raise
        now = fingerprint_bytes(content)
        # Of a file that is read twice, such as one of FHIR resources, both readings must be of the same bytes.
        self._seen[path] = now if self._seen.get(path, now) == now else "changed meanwhile"
        if not content.strip():
            raise UnreadableError(Reason.EMPTY, "There is nothing in it.")
        return content

    def size(self, path: Path) -> int | None:
        try:
            return (self._folder / path).lstat().st_size
        except OSError:
            return None

    def version(self) -> str:
        """What `fingerprint_batch` gives for a folder that holds just this. A file that was not read is hashed now."""
        return version_of({p: self._seen.get(p) or file_state(self._folder / p) for p in self.files.decisive})


def read_content(path: Path, largest_bytes: int) -> bytes:
    """The file's bytes. Raises UnreadableError; a file above the limit is never read into memory."""
    try:
        # No links (they could lead out of the folder), and no waiting for a pipe that nobody writes to.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise UnreadableError(Reason.VANISHED, "It was listed and was gone when it was read. Drop it again.") from error
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            raise _not_a_file() from error
        raise _unreadable(error) from error
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise _not_a_file()
        if state.st_size > largest_bytes:
            raise _too_large(largest_bytes)
        try:
            content = file.read(largest_bytes + 1)
        except OSError as error:
            raise _unreadable(error) from error
    if len(content) > largest_bytes:  # it grew after its size was asked for
        raise _too_large(largest_bytes)
    return content


def check_is_text(content: bytes) -> None:
    """Raise UnreadableError if the bytes are those of an image, an archive, an office file or other binary content."""
    if b"\x00" in content or len(_CONTROL.findall(content)) > _MOST_CONTROL_FRACTION * len(content):
        raise UnreadableError(Reason.NOT_TEXT, "Its bytes are not text. Export it as text in UTF-8.")


def decode(content: bytes) -> str:
    """The text, with line ends as `\\n` and without a byte-order mark. Raises UnreadableError."""
    check_is_text(content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError(
            Reason.INVALID_UTF8, f"Byte {error.start + 1} is not valid UTF-8. Save it as UTF-8."
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decode_base64(data: str, validate: bool) -> bytes:
    """What an attachment holds; with `validate` no other character may stand in it. Raises UnreadableError."""
    try:
        return base64.b64decode(data, validate=validate)
    except binascii.Error as error:
        raise UnreadableError(Reason.CORRUPT_FILE, "Its attachment is not valid Base64. Export it again.") from error


def _not_a_file() -> UnreadableError:
    return UnreadableError(Reason.NOT_A_FILE, "It is a link, a folder or a device. Put the file itself here.")


def _too_large(largest_bytes: int) -> UnreadableError:
    return UnreadableError(Reason.TOO_LARGE, f"It is larger than {largest_bytes} bytes. Split it.")


def _unreadable(error: OSError) -> UnreadableError:
    name = errno.errorcode.get(error.errno or 0, "unknown error")
    return UnreadableError(Reason.UNREADABLE, f"The system refuses to read it ({name}). Check its permissions.")
