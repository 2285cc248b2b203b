"""Reads and erases stored instruction sets: subjects per split, also of erased sets, and the examples excluded from each set.

Turns a set's folder into a tombstone and caches sets in memory, because one page reads about forty. The excluded examples are a
table next to the set's folder, whose content can't change; an erasure removes the subject's rows from it. Ids and reasons only,
never text.
"""

import json
import shutil
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fine_tune_assets.core.erased_sets import ERASED_FILE, REMAINING_FILE, ErasedSet, read_erased_set, write_erased_set
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.ledger.reviews.erasures import SubjectIds
from fine_tune_assets.lineage.subject_rows import SUBJECT_COLUMN, SubjectRows, remove_rows_from_file
from fine_tune_assets.tables.instruction_rows import ExcludedExample, ProvenanceRow
from fine_tune_assets.tables.record_classes import iter_records, table_from_records

EXCLUDED_ENDING = ".excluded.parquet"


def excluded_examples_path(root: Path, fingerprint: str) -> Path:
    return root / f"{short(fingerprint)}{EXCLUDED_ENDING}"


def write_excluded_examples(root: Path, fingerprint: str, rows: Iterable[ExcludedExample]) -> Path:
    """Building the same set again replaces the table."""
    path = excluded_examples_path(root, fingerprint)
    write_table(path, table_from_records(ExcludedExample, rows))
    return path


def read_excluded_examples(root: Path, fingerprint: str) -> list[ExcludedExample]:
    """Empty if no set with this fingerprint was built here."""
    path = excluded_examples_path(root, fingerprint)
    return list(iter_records(ExcludedExample, pq.read_table(path))) if path.is_file() else []


def read_newest_excluded(root: Path) -> list[ExcludedExample]:
    """The examples excluded from the newest set: each build writes its table, also one that gives a known set."""
    newest = max(root.glob(f"*{EXCLUDED_ENDING}"), key=lambda path: path.stat().st_mtime_ns, default=None)
    return [] if newest is None else list(iter_records(ExcludedExample, pq.read_table(newest)))


def remove_excluded_examples(root: Path, example_ids: Collection[str]) -> int:
    """Delete rows that name one of the examples from every table; return their number."""
    count = 0
    for path in sorted(root.glob(f"*{EXCLUDED_ENDING}")):
        rows = list(iter_records(ExcludedExample, pq.read_table(path)))
        remaining = [row for row in rows if not _mentions_example(row, example_ids)]
        if len(remaining) < len(rows):
            write_table(path, table_from_records(ExcludedExample, remaining))
        count += len(rows) - len(remaining)
    return count


def _mentions_example(row: ExcludedExample, example_ids: Collection[str]) -> bool:
    """Whether the row is one of the examples, or was excluded because of one."""
    return row.example_id in example_ids or any(example_id in row.reason for example_id in example_ids)


MANIFEST = "manifest.json"
MAX_CACHE_BYTES = 256 * 2**20
"""About 80 sets of 10,000 examples. Larger totals are read from disk each time, at 2 to 12 ms per set."""
ROWS_FILES = (REMAINING_FILE, "provenance.parquet")
"""The first of these files that exists lists the examples and their sources."""
ALL_ROWS_FILES = (*ROWS_FILES, "instruction_set.parquet")
"""For an erasure, which must also find the subject in a damaged set without provenance."""


@dataclass(frozen=True)
class SetFolder:
    folder: Path
    fingerprint: str
    """The full fingerprint if the folder states it, else the folder's name."""
    tombstone: ErasedSet | None
    facts: dict[str, Any] = field(default_factory=dict)
    """Metadata of an intact set."""
    rows_files: tuple[str, ...] = ROWS_FILES
    cached_rows: pa.Table | None = field(default=None, compare=False, repr=False)
    """Cached result of `read_rows`."""

    @property
    def rows_file(self) -> Path | None:
        return next((self.folder / name for name in self.rows_files if (self.folder / name).is_file()), None)

    def find_rows(self, column: str, *values: str) -> list[ProvenanceRow]:
        """The examples with one of these values, without text."""
        if not values:
            return []
        if self.cached_rows is None:
            return list(iter_records(ProvenanceRow, _read_provenance(self.rows_file, [(column, "in", values)])))
        stored = self.cached_rows[column]
        places = pc.indices_nonzero(pc.is_in(stored, value_set=pa.array(values, stored.type)))
        return list(iter_records(ProvenanceRow, self.cached_rows.take(places))) if len(places) else []

    def read_rows(self) -> pa.Table:
        return _read_provenance(self.rows_file)


def find_rows_in_sets(
    sets: Iterable[SetFolder], column: str, *values: str
) -> Iterator[tuple[SetFolder, ProvenanceRow]]:
    """The examples with one of these values in each set, in set order, without text."""
    return ((stored, row) for stored in sets for row in stored.find_rows(column, *values))


def list_sets(root: Path) -> list[SetFolder]:
    """Every set below `root`, sorted by name."""
    return [open_set(folder) for folder in list_set_paths(root)]


def list_set_paths(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def find_set(root: Path, fingerprint: str) -> SetFolder | None:
    folder = root / short(fingerprint)
    return open_set(folder) if folder.is_dir() else None


def open_set(folder: Path) -> SetFolder:
    erased = read_erased_set(folder)
    if erased is not None:
        return SetFolder(folder, erased.fingerprint, erased)
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return SetFolder(folder, str(manifest["fingerprint"]), None, dict(manifest.get("facts", {})))
    except (OSError, ValueError, KeyError, TypeError):
        # Readers reject a damaged set, but its subjects can still be listed.
        return SetFolder(folder, folder.name, None)


def _read_provenance(path: Path | None, filters: Any = None) -> pa.Table:
    if path is None:
        return ProvenanceRow.SCHEMA.empty_table()
    return pq.read_table(path, schema=ProvenanceRow.SCHEMA, filters=filters)


def _list_sets_to_erase_from(root: Path) -> list[SetFolder]:
    return [replace(stored, rows_files=ALL_ROWS_FILES) for stored in list_sets(root)]


def erase_from_sets(root: Path, subject_rows: SubjectRows, erasure_id: str, now: datetime) -> dict[str, int]:
    """Replace every set that contains the subject by a tombstone, which still lists the other subjects."""
    removed = {"instruction sets": 0, "examples in instruction sets": 0}
    for stored in _list_sets_to_erase_from(root):
        count = _erase_from_set(stored, subject_rows, erasure_id, now)
        removed["instruction sets"] += bool(count) and stored.tombstone is None
        removed["examples in instruction sets"] += count
    return {name: count for name, count in removed.items() if count}


def _erase_from_set(stored: SetFolder, rows: SubjectRows, erasure_id: str, now: datetime) -> int:
    """Erase the subject from one set; return the number of removed examples. Repeatable."""
    subject_rows = stored.find_rows(SUBJECT_COLUMN, rows.subject_key)
    if subject_rows:
        write_erased_set(stored.folder, _make_tombstone(stored, subject_rows, erasure_id, now))
    if subject_rows or stored.tombstone is not None:
        complete_tombstone(stored.folder, rows)
    return len(subject_rows)


def _make_tombstone(
    stored: SetFolder, erased_rows: Iterable[ProvenanceRow], erasure_id: str, now: datetime
) -> ErasedSet:
    before = stored.tombstone or ErasedSet(stored.fingerprint, now.isoformat(), (), {}, stored.facts)
    if erasure_id in before.erasure_ids:
        return before
    examples = dict(Counter(before.examples) + Counter(row.split for row in erased_rows))
    return replace(before, erasure_ids=(*before.erasure_ids, erasure_id), examples=examples)


def complete_tombstone(folder: Path, rows: SubjectRows) -> None:
    """Delete everything except the tombstone and the ids of the other examples."""
    remaining = folder / REMAINING_FILE
    if remaining.is_file():
        remove_rows_from_file(remaining, rows)
    else:
        table = replace(open_set(folder), rows_files=ALL_ROWS_FILES).read_rows()
        is_other = pc.fill_null(pc.not_equal(table[SUBJECT_COLUMN], rows.subject_key), True)
        write_table(remaining, table.filter(is_other))
    for path in folder.iterdir():
        if path.name not in (ERASED_FILE, REMAINING_FILE):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def remove_tombstones(root: Path, erasure_id: str) -> None:
    """Delete tombstones of this erasure alone, so that the same set can be built again."""
    for stored in list_sets(root):
        if stored.tombstone is not None and stored.tombstone.erasure_ids == (erasure_id,):
            shutil.rmtree(stored.folder)


def find_ids_in_sets(root: Path, subject_key: str) -> SubjectIds:
    found = [row for stored in _list_sets_to_erase_from(root) for row in stored.find_rows(SUBJECT_COLUMN, subject_key)]
    reports = frozenset(row.report_id for row in found if row.report_id)
    return SubjectIds(frozenset(), reports, frozenset(row.example_id for row in found))


_Stamp = tuple[tuple[str, int, int, int], ...]


class SetCache:
    """Caches sets and reloads one when its files change: an erasure can replace a set by a tombstone. Thread-safe."""

    def __init__(self, root: Path, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self._root, self._kept_bytes = root, max_bytes
        self._lock = threading.Lock()
        self._cached: dict[Path, tuple[_Stamp, SetFolder]] = {}

    def list_sets(self) -> list[SetFolder]:
        """Every current set, sorted by name."""
        with self._lock:
            stamps = {folder: _read_stamp(folder) for folder in list_set_paths(self._root)}
            self._cached = {f: known for f, known in self._cached.items() if stamps.get(f) == known[0]}
            return [self._load_set(folder, stamp) for folder, stamp in stamps.items()]

    def _load_set(self, folder: Path, stamp: _Stamp) -> SetFolder:
        if folder not in self._cached:
            found = open_set(folder)
            # As one chunk: each chunk is searched separately, and a file has one per 1,000 rows.
            rows = found.read_rows().combine_chunks() if self._count_cached_bytes() < self._kept_bytes else None
            self._cached[folder] = (stamp, replace(found, cached_rows=rows))
        return self._cached[folder][1]

    def _count_cached_bytes(self) -> int:
        return sum(found.cached_rows.nbytes for _, found in self._cached.values() if found.cached_rows is not None)


def _read_stamp(folder: Path) -> _Stamp:
    """Identity of the set's files. Each is replaced by renaming, so its inode changes."""
    found = []
    for name in (ERASED_FILE, MANIFEST, *ROWS_FILES):
        try:
            facts = (folder / name).stat()
        except FileNotFoundError:
            continue
        found.append((name, facts.st_mtime_ns, facts.st_size, facts.st_ino))
    return tuple(found)
