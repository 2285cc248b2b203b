"""Stored instruction sets as lineage sees them: who is in which split of which set, also of sets that were erased.

Owns reading that from a set's folder, and turning a folder into its tombstone. How a set is built and verified is
`instructions`'.
"""

import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fine_tune_assets.core.erased_sets import ERASED, REMAINING, ErasedSet, read_erased, write_erased
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.ledger.erasures import PatientIds
from fine_tune_assets.lineage.patient_rows import EXAMPLE, PATIENT, PatientRows, remove_rows_of_file

MANIFEST = "manifest.json"
ROWS_FILES = (REMAINING, "provenance.parquet", "instruction_set.parquet")
"""Which file names the examples: the first that is there. Sets of before had no provenance."""
_NAMING = (
    EXAMPLE, "split", "report_id", "report_fingerprint", PATIENT, "task", "source", "approved_by", "approval_kind",
    "decision_ids", "fingerprint", "scrubber_version", "passages",
)  # fmt: skip
"""Columns that name an example and its way; never its text."""


@dataclass(frozen=True)
class SetFolder:
    folder: Path
    fingerprint: str
    """The full one where the folder still says it, else the folder's name."""
    erased: ErasedSet | None
    facts: dict[str, Any] = field(default_factory=dict)
    """What decided a set that is whole."""
    known_rows: pa.Table | None = field(default=None, compare=False, repr=False)
    """What `all_rows` would read, where somebody keeps it."""

    @property
    def rows_file(self) -> Path | None:
        return next((self.folder / name for name in ROWS_FILES if (self.folder / name).is_file()), None)

    def rows(self, column: str, *values: str) -> list[dict[str, Any]]:
        """The examples with one of these values, without text."""
        if self.known_rows is None:
            return _named(self.rows_file, filters=[(column, "in", values)]).to_pylist() if values else []
        if column not in self.known_rows.schema.names:
            return []
        stored = self.known_rows[column]
        places = pc.indices_nonzero(pc.is_in(stored, value_set=pa.array(values, stored.type)))
        return list(self.known_rows.take(places).to_pylist()) if len(places) else []

    def all_rows(self) -> pa.Table:
        return _named(self.rows_file, filters=None)


def rows_in_sets(sets: Iterable[SetFolder], column: str, *values: str) -> Iterator[tuple[SetFolder, dict[str, Any]]]:
    """The examples with one of these values in each set, in the order of the sets, without text.

    What is kept in memory is searched in one go: forty sets one by one take three times as long.
    """
    ordered = list(sets) if values else []
    known = {
        s.folder: s.known_rows for s in ordered if s.known_rows is not None and column in s.known_rows.schema.names
    }
    places = _places(known, column, values) if known else {}
    for stored in ordered:
        if stored.folder in known:
            found = known[stored.folder].take(places[stored.folder]).to_pylist() if stored.folder in places else []
        else:
            found = stored.rows(column, *values)
        yield from ((stored, row) for row in found)


def _places(known: Mapping[Path, pa.Table], column: str, values: Sequence[str]) -> dict[Path, pa.Array]:
    """Set → the rows with one of the values; sets without any are left out."""
    chunks = [chunk for rows in known.values() for chunk in rows[column].chunks]
    wanted = pa.array(values, pa.string())
    found = pc.indices_nonzero(pc.is_in(pa.chunked_array(chunks, pa.string()), value_set=wanted)).to_numpy()
    sizes = [rows.num_rows for rows in known.values()]
    ends = np.cumsum(sizes)
    cuts = np.searchsorted(found, ends)
    starts = [0, *cuts[:-1]]
    return {
        folder: pa.array(found[start:stop].astype(np.int64) - (end - size), pa.int64())
        for folder, start, stop, end, size in zip(known, starts, cuts, ends, sizes, strict=True)
        if stop > start
    }


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


def _named(path: Path | None, filters: Any) -> pa.Table:
    if path is None:
        return pa.table({name: pa.array([], pa.string()) for name in _NAMING})
    schema = pq.read_schema(path)
    columns = [name for name in _NAMING if name in schema.names]
    if filters and filters[0][0] not in columns:
        return schema.empty_table().select(columns)
    return pq.read_table(path, columns=columns, filters=filters)


def erase_from_sets(root: Path, rows: PatientRows, erasure_id: str, now: datetime) -> dict[str, int]:
    """Make a tombstone of every set that holds the patient. What stays says which other patients were in it."""
    removed = {"instruction sets": 0, "examples in instruction sets": 0}
    for stored in set_folders(root):
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
        table = _named(open_set(folder).rows_file, filters=None)
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
    found = [row for stored in set_folders(root) for row in stored.rows(PATIENT, patient_key)]
    reports = frozenset(row["report_id"] for row in found if row.get("report_id"))
    return PatientIds(frozenset(), reports, frozenset(row[EXAMPLE] for row in found))
