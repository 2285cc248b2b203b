"""A release as one file: an uncompressed tar that holds the signature first, then the manifest, then every other file by name.

Owns writing and unpacking it. The same release gives the same bytes. Nothing in an archive is believed before the signature, its
first member, holds: that says which members follow and what each must be, and anything else is refused by name.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from fine_tune_assets.core.files import make_folder, new_private_file, written_aside
from fine_tune_assets.core.releases.release_folders import MANIFEST, SEALS, SIGNATURE, SIZES, ReleaseError, is_member
from fine_tune_assets.core.releases.release_signing import signed_files

MOST_SEAL_BYTES = 2**20
"""Of a signature or a public key, which no manifest names: a signature takes 200 bytes for each file."""
MOST_MANIFEST_BYTES = 2**24
_BLOCK, _RECORD, _CHUNK = tarfile.BLOCKSIZE, tarfile.RECORDSIZE, 2**20


class ArchiveError(ReleaseError):
    """A file is not the archive of a release, or was changed. Nothing of it is kept."""


def write_release_archive(folder: Path, files: Mapping[str, str], archive: Path) -> None:
    """Pack a release folder that was verified just now; `files`: every file → SHA-256, as it was found then.

    Raises ArchiveError if a file changed since, or is none that a release holds, OSError if `archive` can't be written.
    """
    with written_aside(archive) as aside, new_private_file(aside) as out:
        for name in _order(files):
            _require_member(name, archive.name)
            with (folder / name).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                out.write(_header(name, size))
                if _copy(file, out, size) != files[name]:
                    raise ArchiveError(f"{name} of release {folder.name} changed while it was packed. Export it again.")
            out.write(bytes(-size % _BLOCK))
        out.write(_end_at(out.tell()))


def unpack_release(archive: Path, public_key: Path, folder: Path) -> None:
    """Write the members into `folder`, a private one that is empty. It is left as it is when this raises.

    Raises ArchiveError that names the member which was changed, added, left out, doubled or is no plain file, ReleaseError if
    the owner of the key did not sign it.
    """
    try:
        with archive.open("rb") as file:
            _Unpacking(file, archive.name, public_key, folder).run()
    except OSError as error:
        raise ArchiveError(f"{archive.name} can't be unpacked: {error.strerror or type(error).__name__}.") from error


class _Unpacking:
    def __init__(self, file: IO[bytes], name: str, public_key: Path, folder: Path) -> None:
        self._file, self._name, self._public_key, self._folder = file, name, public_key, folder
        self._taken: list[str] = []
        self._signed: dict[str, str] = {}

    def run(self) -> None:
        self._take(SIGNATURE, most=MOST_SEAL_BYTES)
        self._signed = signed_files(self._folder / SIGNATURE, self._name, self._public_key)
        for name in self._signed:
            _require_member(name, self._name)
        self._take(MANIFEST, most=MOST_MANIFEST_BYTES)
        sizes = self._sizes()
        for name in _order({**self._signed, SIGNATURE: ""})[2:]:
            if name in SEALS:
                self._take(name, most=MOST_SEAL_BYTES)
            else:
                self._take(name, size=sizes.get(name))
        self._require_end()

    def _take(self, name: str, *, size: int | None = None, most: int | None = None) -> None:
        """The next member, which must be `name`, and of `size` or at most `most` bytes."""
        found = self._next(name)
        if name == SIGNATURE and (found is None or found.name != SIGNATURE):
            raise ArchiveError(
                f"{self._name} is no archive of a signed release: {SIGNATURE} is missing as its first file."
            )
        if found is None or (found.name != name and found.name in self._signed and found.name not in self._taken):
            raise ArchiveError(f"{self._name}: {name} is missing.")
        self._require_known(found.name, name)
        if found.size != size if most is None else found.size > most:
            raise ArchiveError(f"{self._name}: {name} has {found.size} bytes and not {_wanted(size, most)}.")
        target = self._folder / name
        make_folder(target.parent)
        with new_private_file(target) as out:
            digest = _copy(self._file, out, found.size)
        if digest is None or any(self._file.read(-found.size % _BLOCK)):
            raise ArchiveError(f"{self._name}: {name} is cut short, or is followed by something.")
        if name != SIGNATURE and digest != self._signed.get(name):
            raise ArchiveError(f"{self._name}: {name} was changed since the release was signed.")
        self._taken.append(name)

    def _next(self, wanted: str) -> tarfile.TarInfo | None:
        """The header of the next member; None at the end. Only the one form is read in which we write: no links, devices, sparse
        files or long names, and nothing that describes another member."""
        block = self._file.read(_BLOCK)
        if not any(block):
            return None
        try:
            found = tarfile.TarInfo.frombuf(block, "utf-8", "backslashreplace")
        except tarfile.HeaderError as error:
            raise ArchiveError(f"{self._name}: the header before {wanted} can't be read ({error}).") from error
        if found.type not in tarfile.REGULAR_TYPES:
            raise ArchiveError(f"{self._name}: {_shown(found.name)} is a link or no plain file.")
        if is_member(found.name) and block != _header(found.name, found.size):
            raise ArchiveError(f"{self._name}: the header of {found.name} is not as it was written.")
        return found

    def _require_known(self, found: str, wanted: str) -> None:
        if found in self._taken:
            raise ArchiveError(f"{self._name}: {_shown(found)} is there twice.")
        if found != wanted:
            raise ArchiveError(f"{self._name}: {_shown(found)} is no part of the release; {wanted} belongs there.")

    def _sizes(self) -> Mapping[str, int]:
        try:
            manifest: Any = json.loads((self._folder / MANIFEST).read_text(encoding="utf-8"))
            return {str(name): int(size) for name, size in manifest[SIZES].items()}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ArchiveError(
                f"{self._name}: {MANIFEST} does not say how large each file is. Build the release again."
            ) from error

    def _require_end(self) -> None:
        place = self._file.tell()
        found = self._next("the end")
        if found is not None:
            self._require_known(found.name, "nothing")
        self._file.seek(place)
        if self._file.read(_RECORD + 2 * _BLOCK) != _end_at(place):
            raise ArchiveError(f"{self._name}: something other than the end follows the last file.")


def _order(files: Mapping[str, str]) -> list[str]:
    return [SIGNATURE, MANIFEST, *sorted(files.keys() - {SIGNATURE, MANIFEST})]


def _require_member(name: str, where: str) -> None:
    if not is_member(name):
        raise ArchiveError(f"{where}: {_shown(name)} is none of the files that a release holds.")


def _header(name: str, size: int) -> bytes:
    """The one way in which a member is described: a plain file without owner, time or anything else."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")


def _end_at(place: int) -> bytes:
    return bytes(2 * _BLOCK + -(place + 2 * _BLOCK) % _RECORD)


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> str | None:
    """Copy `size` bytes and return their SHA-256; None if there are fewer."""
    digest, left = hashlib.sha256(), size
    while left and (chunk := source.read(min(left, _CHUNK))):
        digest.update(chunk)
        target.write(chunk)
        left -= len(chunk)
    return None if left else digest.hexdigest()


def _wanted(size: int | None, most: int | None) -> str:
    return f"at most {most}" if most is not None else "the size that the manifest names" if size is None else str(size)


def _shown(name: str) -> str:
    """A name that anybody may have written, on a terminal."""
    return ascii(name)
