"""Packs a release into one file, an uncompressed tar, and unpacks it. The same release gives the same bytes.

The members are the signature, the manifest, then all other files by name. Unpacking verifies the signature first: it lists the
hash of every following member, and any other member is refused by name.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from fine_tune_assets.core.files import atomic_write, make_folder, open_private_file
from fine_tune_assets.core.processes.confined_process import ConfinedProcessError, call_confined, limits_by_size
from fine_tune_assets.core.processes.confined_worker import Channel
from fine_tune_assets.core.processes.confinement import Access
from fine_tune_assets.core.releases.release_folders import MANIFEST, SEALS, SIGNATURE, SIZES, ReleaseError, is_member
from fine_tune_assets.core.releases.release_signing import read_signed_files

MAX_SEAL_BYTES = 2**20
"""Limit for signatures and public keys, which the manifest does not list: a signature takes 200 bytes per file."""
MAX_MANIFEST_BYTES = 2**24
_MEMORY_BYTES = 2**31
"""Address space for unpacking."""
_BLOCK, _RECORD, _CHUNK = tarfile.BLOCKSIZE, tarfile.RECORDSIZE, 2**20


class ArchiveError(ReleaseError):
    """The file is not a release archive, or was changed."""


def write_release_archive(folder: Path, files: Mapping[str, str], archive: Path) -> None:
    """Pack a verified release folder. `files`: every file → SHA-256, as found by the verification.

    Raises ArchiveError if a file has changed since or is not part of a release, OSError if `archive` can't be written.
    """
    with atomic_write(archive) as temporary, open_private_file(temporary) as out:
        for name in _order_members(files):
            _require_member(name, archive.name)
            with (folder / name).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                out.write(_build_header(name, size))
                if _copy(file, out, size) != files[name]:
                    raise ArchiveError(
                        f"{name} of release {folder.name} changed while it was packed. Run the export again."
                    )
            out.write(bytes(-size % _BLOCK))
        out.write(_end_padding(out.tell()))


def unpack_release(archive: Path, public_key: Path, folder: Path) -> None:
    """Write the members into `folder`, which is private and empty. On an error the caller has to remove it.

    Raises ArchiveError with the name of the member that is changed, unexpected, missing, duplicated or not a regular file,
    ReleaseError if the owner of the key did not sign the release.
    """
    try:
        with archive.open("rb") as file:
            _Unpacker(file, archive.name, public_key, folder).run()
    except OSError as error:
        raise ArchiveError(f"{archive.name} can't be unpacked: {error.strerror or type(error).__name__}.") from error


def unpack_confined(archive: Path, public_key: Path, folder: Path) -> None:
    """`unpack_release` in a confined process, which can read only the archive and the key, and write only into `folder`."""
    archive, public_key, folder = archive.resolve(), public_key.resolve(), folder.resolve()
    arguments = {"archive": str(archive), "public_key": str(public_key), "folder": str(folder)}
    access = Access(readable=(str(archive), str(public_key)), writable=(str(folder),))
    size = archive.stat().st_size if archive.is_file() else 0
    try:
        call_confined(_unpack, arguments, limits_by_size(size, _MEMORY_BYTES), access, (ArchiveError, ReleaseError))
    except ConfinedProcessError as error:
        raise ArchiveError(f"{archive.name} can't be unpacked: reading it {error.failure.value}.") from error


def _unpack(_channel: Channel, archive: str, public_key: str, folder: str) -> None:
    unpack_release(Path(archive), Path(public_key), Path(folder))


class _Unpacker:
    def __init__(self, file: IO[bytes], name: str, public_key: Path, folder: Path) -> None:
        self._file, self._name, self._public_key, self._folder = file, name, public_key, folder
        self._extracted: list[str] = []
        self._signed: dict[str, str] = {}

    def run(self) -> None:
        self._extract_member(SIGNATURE, max_size=MAX_SEAL_BYTES)
        self._signed = read_signed_files(self._folder / SIGNATURE, self._name, self._public_key)
        for name in self._signed:
            _require_member(name, self._name)
        self._extract_member(MANIFEST, max_size=MAX_MANIFEST_BYTES)
        sizes = self._read_sizes()
        for name in _order_members({**self._signed, SIGNATURE: ""})[2:]:
            if name in SEALS:
                self._extract_member(name, max_size=MAX_SEAL_BYTES)
            else:
                self._extract_member(name, size=sizes.get(name))
        self._require_end()

    def _extract_member(self, name: str, *, size: int | None = None, max_size: int | None = None) -> None:
        """Extract the next member, which must be `name` and have `size` or at most `max_size` bytes."""
        found = self._read_header(name)
        if name == SIGNATURE and (found is None or found.name != SIGNATURE):
            raise ArchiveError(
                f"{self._name} is not the archive of a signed release: its first file is not {SIGNATURE}."
            )
        if found is None or (found.name != name and found.name in self._signed and found.name not in self._extracted):
            raise ArchiveError(f"{self._name}: {name} is missing.")
        self._require_known(found.name, name)
        if found.size != size if max_size is None else found.size > max_size:
            raise ArchiveError(
                f"{self._name}: {name} has {found.size} bytes instead of {_expected_size(size, max_size)}."
            )
        target = self._folder / name
        make_folder(target.parent)
        with open_private_file(target) as out:
            digest = _copy(self._file, out, found.size)
        if digest is None or any(self._file.read(-found.size % _BLOCK)):
            raise ArchiveError(f"{self._name}: {name} is truncated, or has bytes after its end.")
        if name != SIGNATURE and digest != self._signed.get(name):
            raise ArchiveError(f"{self._name}: {name} was changed after the release was signed.")
        self._extracted.append(name)

    def _read_header(self, expected: str) -> tarfile.TarInfo | None:
        """The header of the next member; None at the end. Accepts only the format that we write: no links, devices, sparse
        files, long names or extended headers."""
        block = self._file.read(_BLOCK)
        if not any(block):
            return None
        try:
            found = tarfile.TarInfo.frombuf(block, "utf-8", "backslashreplace")
        except tarfile.HeaderError as error:
            raise ArchiveError(f"{self._name}: the header before {expected} is unreadable ({error}).") from error
        if found.type not in tarfile.REGULAR_TYPES:
            raise ArchiveError(f"{self._name}: {_quote_name(found.name)} is not a regular file.")
        if is_member(found.name) and block != _build_header(found.name, found.size):
            raise ArchiveError(f"{self._name}: the header of {found.name} was changed.")
        return found

    def _require_known(self, found: str, expected: str) -> None:
        if found in self._extracted:
            raise ArchiveError(f"{self._name}: {_quote_name(found)} is duplicated.")
        if found != expected:
            raise ArchiveError(f"{self._name}: {_quote_name(found)} is not part of the release; expected {expected}.")

    def _read_sizes(self) -> Mapping[str, int]:
        try:
            manifest: Any = json.loads((self._folder / MANIFEST).read_text(encoding="utf-8"))
            return {str(name): int(size) for name, size in manifest[SIZES].items()}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ArchiveError(
                f"{self._name}: {MANIFEST} does not list the size of each file. Build and export the release again."
            ) from error

    def _require_end(self) -> None:
        position = self._file.tell()
        found = self._read_header("the end")
        if found is not None:
            self._require_known(found.name, "the end")
        self._file.seek(position)
        if self._file.read(_RECORD + 2 * _BLOCK) != _end_padding(position):
            raise ArchiveError(f"{self._name}: unexpected bytes follow the last file.")


def _order_members(files: Mapping[str, str]) -> list[str]:
    return [SIGNATURE, MANIFEST, *sorted(files.keys() - {SIGNATURE, MANIFEST})]


def _require_member(name: str, archive: str) -> None:
    if not is_member(name):
        raise ArchiveError(f"{archive}: {_quote_name(name)} is not a file of a release.")


def _build_header(name: str, size: int) -> bytes:
    """The header of a regular file without owner and time, so that equal releases give equal bytes."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")


def _end_padding(position: int) -> bytes:
    return bytes(2 * _BLOCK + -(position + 2 * _BLOCK) % _RECORD)


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> str | None:
    """Copy `size` bytes and return their SHA-256; None if there are fewer."""
    digest, remaining = hashlib.sha256(), size
    while remaining and (chunk := source.read(min(remaining, _CHUNK))):
        digest.update(chunk)
        target.write(chunk)
        remaining -= len(chunk)
    return None if remaining else digest.hexdigest()


def _expected_size(size: int | None, max_size: int | None) -> str:
    return f"at most {max_size}" if max_size is not None else "the size in the manifest" if size is None else str(size)


def _quote_name(name: str) -> str:
    """Escape an untrusted name for a terminal."""
    return ascii(name)
