"""The rows of one patient in Parquet files: finding them, and writing every file again without them.

Owns which columns name a patient, a report or an example, and that a file is never half written or written over a newer one.
Does not know which tables there are: it looks at the columns of every file.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.files import written_aside
from fine_tune_assets.ledger.reviews.erasures import PatientIds

PATIENT = "patient_key"
REPORT_COLUMNS = ("report_id", "dropped_id", "kept_id")
EXAMPLE = "example_id"
_TRIES = 5
_BATCH_ROWS = 4096


class BusyFileError(FineTuneError):
    """A file was written again and again while rows were removed from it."""


@dataclass(frozen=True)
class PatientRows:
    """What makes a row one of the patient's."""

    patient_key: str
    ids: PatientIds

    def in_batch(self, batch: pa.RecordBatch) -> pa.Array:
        """For each row whether it is one of the patient's, by its patient, else by its reports, else by its example."""
        names = batch.schema.names
        if PATIENT in names:
            return pc.fill_null(pc.equal(batch[PATIENT], self.patient_key), False)
        held = pa.array([False] * batch.num_rows)
        columns = [name for name in REPORT_COLUMNS if name in names]
        for name in columns:
            held = pc.or_(held, _is_in(batch[name], self.ids.report_ids))
        # An id of an example says nothing where the patient stands beside it; alone it is all that there is.
        return _is_in(batch[EXAMPLE], self.ids.example_ids) if not columns and EXAMPLE in names else held


def find_ids(tables: Path, patient_key: str) -> PatientIds:
    """Reports, examples and batches of the patient in all tables below `tables`."""
    found = PatientIds()
    for path in _files(tables):
        found = found.and_those(_ids_in(path, patient_key))
    return found


def _ids_in(path: Path, patient_key: str) -> PatientIds:
    names = pq.read_schema(path).names
    if PATIENT not in names:
        return PatientIds()
    wanted = [name for name in ("report_id", EXAMPLE, "batch") if name in names]
    rows = pq.read_table(path, columns=wanted or [PATIENT], filters=[(PATIENT, "==", patient_key)])

    def values(name: str) -> frozenset[str]:
        return frozenset(v for v in rows[name].to_pylist() if v is not None) if name in wanted else frozenset()

    return PatientIds(values("batch"), values("report_id"), values(EXAMPLE))


def remove_rows(folder: Path, rows: PatientRows) -> dict[str, int]:
    """Write every Parquet file below `folder` again without the rows; name of the file's folder → rows removed."""
    removed: dict[str, int] = {}
    for path in _files(folder):
        count = remove_rows_of_file(path, rows)
        if count:
            removed[path.parent.name] = removed.get(path.parent.name, 0) + count
    return removed


def remove_rows_of_file(path: Path, rows: PatientRows) -> int:
    """How many rows were removed. A file without any is left as it is. Raises BusyFileError."""
    for _ in range(_TRIES):
        try:
            before = path.stat()
        except FileNotFoundError:
            return 0
        if not any(pc.any(rows.in_batch(batch)).as_py() for batch in _batches(path)):
            return 0
        try:
            return _write_without(path, rows, (before.st_ino, before.st_mtime_ns))
        except _ChangedError:
            continue
    raise BusyFileError(f"{path.parent.name}/{path.name} is written all the time. Stop the daemon, and erase again.")


class _ChangedError(Exception):
    pass


def _write_without(path: Path, rows: PatientRows, state: tuple[int, int]) -> int:
    removed = 0
    with written_aside(path) as aside:
        aside.touch(mode=0o600)
        schema = pq.read_schema(path)
        with pq.ParquetWriter(aside, schema) as writer:
            for batch in _batches(path):
                kept = batch.filter(pc.invert(rows.in_batch(batch)))
                removed += batch.num_rows - kept.num_rows
                writer.write_batch(kept)
        # What a run wrote meanwhile is newer than what was read here, and stays.
        now = path.stat()
        if (now.st_ino, now.st_mtime_ns) != state:
            raise _ChangedError
    return removed


def names_anybody(path: Path) -> bool:
    """Whether it is a Parquet file whose rows say whose they are."""
    return path.suffix == ".parquet" and bool({PATIENT, EXAMPLE, *REPORT_COLUMNS} & set(pq.read_schema(path).names))


def count_rows(folder: Path, patients: Collection[str]) -> dict[str, int]:
    """Table → rows of these patients that are still in it."""
    found: dict[str, int] = {}
    for path in _files(folder) if patients else ():
        if PATIENT in pq.read_schema(path).names:
            count = _is_in(_keys(path), patients).true_count
            if count:
                found[path.parent.name] = found.get(path.parent.name, 0) + count
    return found


def batches_with(reports: Path, patients: Collection[str]) -> list[str]:
    """Batches whose file below `reports` holds one of the patients."""
    return [path.stem for path in _files(reports) if _is_in(_keys(path), patients).true_count]


def _keys(path: Path) -> pa.Array:
    return pq.read_table(path, columns=[PATIENT])[PATIENT].combine_chunks()


def _is_in(column: pa.Array | pa.ChunkedArray, values: Collection[str]) -> pa.Array:
    return pc.fill_null(pc.is_in(column, value_set=pa.array(sorted(values), pa.string())), False)


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(_BATCH_ROWS)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.parquet") if not path.name.startswith("."))
