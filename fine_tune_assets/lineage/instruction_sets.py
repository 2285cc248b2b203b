"""Stored instruction sets as lineage sees them: who is in which split, also of erased sets, and what each set left out.

Reads that from a set's folder, turns a folder into its tombstone, and keeps sets in memory between questions, since one page asks
forty of them. What a set left out is a table beside its folder, which is named by its content and can't be changed: when a
patient is erased, the rows that name one of the patient's examples go. Ids and reasons only, never text.
"""

import json
import shutil
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fine_tune_assets.core.erased_sets import ERASED, REMAINING, ErasedSet, read_erased, write_erased
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.ledger.reviews.erasures import PatientIds
from fine_tune_assets.lineage.patient_rows import EXAMPLE, PATIENT, PatientRows, remove_rows_of_file
from fine_tune_assets.tables.instructions import LeftOutExample, ProvenanceRow
from fine_tune_assets.tables.records import conform, table_of

_ENDING = ".left_out.parquet"


def left_out_file(root: Path, fingerprint: str) -> Path:
    return root / f"{short(fingerprint)}{_ENDING}"


def write_left_out(root: Path, fingerprint: str, rows: Sequence[Mapping[str, str]]) -> Path:
    """`rows`: `LeftOutExample` rows. The same set made again replaces it."""
    path = left_out_file(root, fingerprint)
    write_table(path, table_of(rows, LeftOutExample.SCHEMA))
    return path


def read_left_out(root: Path, fingerprint: str) -> list[dict[str, str]]:
    """Empty if no set with this fingerprint was made here."""
    path = left_out_file(root, fingerprint)
    return conform(pq.read_table(path), LeftOutExample.SCHEMA).to_pylist() if path.is_file() else []


def forget_left_out(root: Path, example_ids: Collection[str]) -> int:
    """Take the rows that name one of the examples out of every table; how many there were."""
    count = 0
    for path in sorted(root.glob(f"*{_ENDING}")):
        rows = pq.read_table(path).to_pylist()
        kept = [row for row in rows if not _names(row, example_ids)]
        if len(kept) < len(rows):
            write_table(path, table_of(kept, LeftOutExample.SCHEMA))
        count += len(rows) - len(kept)
    return count


def _names(row: Mapping[str, str], example_ids: Collection[str]) -> bool:
    """Whether it is one of them, or was left out because of one."""
    return row["example_id"] in example_ids or any(example_id in row["reason"] for example_id in example_ids)


MANIFEST = "manifest.json"
KEPT_BYTES = 256 * 2**20
"""About 80 sets of 10,000 examples. Sets beyond are read from their files each time, at 2 to 12 ms a set."""
ROWS_FILES = (REMAINING, "provenance.parquet")
"""The first of these files that exists names the examples and where they come from."""
ANY_ROWS_FILE = (*ROWS_FILES, "instruction_set.parquet")
"""For an erasure, which must find the patient also in a damaged set whose provenance is gone."""


@dataclass(frozen=True)
class SetFolder:
    folder: Path
    fingerprint: str
    """The full one where the folder still says it, else the folder's name."""
    erased: ErasedSet | None
    facts: dict[str, Any] = field(default_factory=dict)
    """What decided a set that is whole."""
    rows_files: tuple[str, ...] = ROWS_FILES
    known_rows: pa.Table | None = field(default=None, compare=False, repr=False)
    """What `all_rows` would read, where somebody keeps it."""

    @property
    def rows_file(self) -> Path | None:
        return next((self.folder / name for name in self.rows_files if (self.folder / name).is_file()), None)

    def rows(self, column: str, *values: str) -> list[dict[str, Any]]:
        """The examples with one of these values, without text."""
        if not values:
            return []
        if self.known_rows is None:
            return _named(self.rows_file, [(column, "in", values)]).to_pylist()
        stored = self.known_rows[column]
        places = pc.indices_nonzero(pc.is_in(stored, value_set=pa.array(values, stored.type)))
        return list(self.known_rows.take(places).to_pylist()) if len(places) else []

    def all_rows(self) -> pa.Table:
        return _named(self.rows_file)


def rows_in_sets(sets: Iterable[SetFolder], column: str, *values: str) -> Iterator[tuple[SetFolder, dict[str, Any]]]:
    """The examples with one of these values in each set, in the order of the sets, without text."""
    return ((stored, row) for stored in sets for row in stored.rows(column, *values))


def set_folders(root: Path) -> list[SetFolder]:
    """Every set below `root`, sorted by name."""
    return [open_set(folder) for folder in list_folders(root)]


def list_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def find_set(root: Path, fingerprint: str) -> SetFolder | None:
    folder = root / short(fingerprint)
    return open_set(folder) if folder.is_dir() else None


def open_set(folder: Path) -> SetFolder:
    erased = read_erased(folder)
    if erased is not None:
        return SetFolder(folder, erased.fingerprint, erased)
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return SetFolder(folder, str(manifest["fingerprint"]), None, dict(manifest.get("facts", {})))
    except (OSError, ValueError, KeyError, TypeError):
        # A damaged set is for its reader to refuse; who was in it can be told all the same.
        return SetFolder(folder, folder.name, None)


def _named(path: Path | None, filters: Any = None) -> pa.Table:
    if path is None:
        return ProvenanceRow.SCHEMA.empty_table()
    return pq.read_table(path, schema=ProvenanceRow.SCHEMA, filters=filters)


def _damaged_or_whole(root: Path) -> list[SetFolder]:
    return [replace(stored, rows_files=ANY_ROWS_FILE) for stored in set_folders(root)]


def erase_from_sets(root: Path, rows: PatientRows, erasure_id: str, now: datetime) -> dict[str, int]:
    """Make a tombstone of every set that holds the patient. What stays says which other patients were in it."""
    removed = {"instruction sets": 0, "examples in instruction sets": 0}
    for stored in _damaged_or_whole(root):
        count = _erase_from(stored, rows, erasure_id, now)
        removed["instruction sets"] += bool(count) and stored.erased is None
        removed["examples in instruction sets"] += count
    return {name: count for name, count in removed.items() if count}


def _erase_from(stored: SetFolder, rows: PatientRows, erasure_id: str, now: datetime) -> int:
    """Examples that were removed. Each step can be repeated: a tombstone that stands is finished."""
    of_patient = stored.rows(PATIENT, rows.patient_key)
    if of_patient:
        write_erased(stored.folder, _tombstone(stored, of_patient, erasure_id, now))
    if of_patient or stored.erased is not None:
        finish_tombstone(stored.folder, rows)
    return len(of_patient)


def _tombstone(stored: SetFolder, gone: Collection[dict[str, Any]], erasure_id: str, now: datetime) -> ErasedSet:
    before = stored.erased or ErasedSet(stored.fingerprint, now.isoformat(), (), {}, stored.facts)
    if erasure_id in before.erasure_ids:
        return before
    examples = dict(before.examples)
    for row in gone:
        examples[row["split"]] = examples.get(row["split"], 0) + 1
    return replace(before, erasure_ids=(*before.erasure_ids, erasure_id), examples=examples)


def finish_tombstone(folder: Path, rows: PatientRows) -> None:
    """Leave the tombstone and the ids of the other examples, and nothing else."""
    remaining = folder / REMAINING
    if remaining.is_file():
        remove_rows_of_file(remaining, rows)
    else:
        table = replace(open_set(folder), rows_files=ANY_ROWS_FILE).all_rows()
        is_other = pc.fill_null(pc.not_equal(table[PATIENT], rows.patient_key), True)
        write_table(remaining, table.filter(is_other))
    for path in folder.iterdir():
        if path.name not in (ERASED, REMAINING):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def lift_from_sets(root: Path, erasure_id: str) -> None:
    """Take away the tombstones that stand for this erasure alone: the same set may be made again."""
    for stored in set_folders(root):
        if stored.erased is not None and stored.erased.erasure_ids == (erasure_id,):
            shutil.rmtree(stored.folder)


def ids_in_sets(root: Path, patient_key: str) -> PatientIds:
    found = [row for stored in _damaged_or_whole(root) for row in stored.rows(PATIENT, patient_key)]
    reports = frozenset(row["report_id"] for row in found if row.get("report_id"))
    return PatientIds(frozenset(), reports, frozenset(row[EXAMPLE] for row in found))


_Stamp = tuple[tuple[str, int, int, int], ...]


class KnownSets:
    """Reads a set again whenever one of its files is another one: sets are named by their content, but erasing a patient puts a
    tombstone in their place. Safe to share between threads."""

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
