"""Instruction sets kept in memory between questions: who is in forty of them is asked on one page.

Owns when a set is read again, which is whenever one of its files is another one: sets are named by their content, but erasing
a patient puts a tombstone in their place. And how much is kept. Ids only, never text.
"""

import threading
from dataclasses import replace
from pathlib import Path

from fine_tune_assets.core.erased_sets import ERASED
from fine_tune_assets.lineage.instruction_sets import MANIFEST, ROWS_FILES, SetFolder, list_folders, open_set

KEPT_BYTES = 256 * 2**20
"""About 80 sets of 10,000 examples. Sets beyond are read from their files each time, at 2 to 12 ms a set."""
_Stamp = tuple[tuple[str, int, int, int], ...]


class KnownSets:
    """Safe to share between threads."""

    def __init__(self, root: Path, kept_bytes: int = KEPT_BYTES) -> None:
        self._root, self._kept_bytes = root, kept_bytes
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[_Stamp, SetFolder]] = {}

    def folders(self) -> list[SetFolder]:
        """Every set, sorted by name, as it is now."""
        with self._lock:
            stamps = {folder: _stamp(folder) for folder in list_folders(self._root)}
            self._known = {f: known for f, known in self._known.items() if stamps.get(f) == known[0]}
            return [self._folder(folder, stamp) for folder, stamp in stamps.items()]

    def _folder(self, folder: Path, stamp: _Stamp) -> SetFolder:
        if folder not in self._known:
            found = open_set(folder)
            # In one piece: each piece is searched on its own, and a file has one for every 1,000 rows.
            rows = found.all_rows().combine_chunks() if self._held() < self._kept_bytes else None
            self._known[folder] = (stamp, replace(found, known_rows=rows))
        return self._known[folder][1]

    def _held(self) -> int:
        return sum(found.known_rows.nbytes for _, found in self._known.values() if found.known_rows is not None)


def _stamp(folder: Path) -> _Stamp:
    """Of the files that say what the set is and who is in it; each is written aside and renamed, so that its number changes."""
    found = []
    for name in (ERASED, MANIFEST, *ROWS_FILES):
        try:
            facts = (folder / name).stat()
        except FileNotFoundError:
            continue
        found.append((name, facts.st_mtime_ns, facts.st_size, facts.st_ino))
    return tuple(found)
