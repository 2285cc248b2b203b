"""SHA-256 of files that are asked for again and again: a file is read again only if it may have changed.

Owns when a remembered hash still holds. For evidence and for what is stored, files are hashed anew in each step:
core.fingerprints.
"""

import os
from collections.abc import Callable
from pathlib import Path

from fine_tune_assets.core.fingerprints import fingerprint_file

SETTLED_NS = 2_000_000_000
"""Timestamps are coarse, on FAT two seconds: a file that changed just now may change once more without another time."""
Identity = tuple[int, int, int, int]


class RememberedHashes:
    """`fingerprint_file` with a memory of `most` files, about 400 bytes each."""

    def __init__(self, most: int, now_ns: Callable[[], int]) -> None:
        self._most = most
        self._now_ns = now_ns
        self._known: dict[str, tuple[Identity, str]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __call__(self, path: Path) -> str:
        """The file's SHA-256. Raises OSError."""
        name = os.fspath(path)
        before, is_settled = _look(path, self._now_ns())
        known = self._known.get(name)
        if known is not None and known[0] == before:
            return known[1]
        found = fingerprint_file(path)
        if is_settled and _look(path, self._now_ns())[0] == before:
            if len(self._known) >= self._most:
                self._known.clear()  # files that are gone would fill it for ever
            self._known[name] = before, found
        return found


class HashedOnce:
    """Reads a file once, by whatever names it is asked for: for one step that looks at the same files several times."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], str] = {}

    def __call__(self, path: Path) -> str:
        """The file's SHA-256. Raises OSError."""
        state = path.stat()
        identity = state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
        if identity not in self._known:
            self._known[identity] = fingerprint_file(path)
        return self._known[identity]


def _look(path: Path, now_ns: int) -> tuple[Identity, bool]:
    state = path.stat()
    # Unlike the time of modification, that of the last change (ctime) can't be set back by a program.
    identity = state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino
    return identity, now_ns - max(state.st_mtime_ns, state.st_ctime_ns) >= SETTLED_NS
