"""Finds and removes the rows of one subject in Parquet files, by the columns of each file.

A file is rewritten atomically and never replaces a newer version.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.files import atomic_write
from fine_tune_assets.ledger.reviews.erasures import SubjectIds

SUBJECT_COLUMN = "subject_key"
REPORT_COLUMNS = ("report_id", "dropped_id", "kept_id")
EXAMPLE_COLUMN = "example_id"
_MAX_ATTEMPTS = 5
_BATCH_ROWS = 4096


class BusyFileError(FineTuneError):
    """The file remaining changing while rows were being removed."""


@dataclass(frozen=True)
class SubjectRows:
    """The keys that identify a subject's rows."""

    subject_key: str
    ids: SubjectIds

    def match_batch(self, batch: pa.RecordBatch) -> pa.Array:
        """For each row, whether it belongs to the subject: by subject key, else by report, else by example."""
        names = batch.schema.names
        if SUBJECT_COLUMN in names:
            return pc.fill_null(pc.equal(batch[SUBJECT_COLUMN], self.subject_key), False)
        held = pa.array([False] * batch.num_rows)
        columns = [name for name in REPORT_COLUMNS if name in names]
        for name in columns:
            held = pc.or_(held, _is_in(batch[name], self.ids.report_ids))
        # If the subject column has a value, it decides; the example id only counts without one.
        return _is_in(batch[EXAMPLE_COLUMN], self.ids.example_ids) if not columns and EXAMPLE_COLUMN in names else held


def find_ids_in_tables(tables: Path, subject_key: str) -> SubjectIds:
    """Reports, examples and batches of the subject in all tables below `tables`."""
    found = SubjectIds()
    for path in _list_files(tables):
        found = found.union(_find_ids_in_file(path, subject_key))
    return found


def _find_ids_in_file(path: Path, subject_key: str) -> SubjectIds:
    names = pq.read_schema(path).names
    if SUBJECT_COLUMN not in names:
        return SubjectIds()
    id_columns = [name for name in ("report_id", EXAMPLE_COLUMN, "batch") if name in names]
    rows = pq.read_table(path, columns=id_columns or [SUBJECT_COLUMN], filters=[(SUBJECT_COLUMN, "==", subject_key)])

    def values(name: str) -> frozenset[str]:
        return frozenset(v for v in rows[name].to_pylist() if v is not None) if name in id_columns else frozenset()

    return SubjectIds(values("batch"), values("report_id"), values(EXAMPLE_COLUMN))


def remove_rows(folder: Path, rows: SubjectRows) -> dict[str, int]:
    """Rewrite every Parquet file below `folder` without the rows; return the removed rows by folder name."""
    removed: dict[str, int] = {}
    for path in _list_files(folder):
        count = remove_rows_from_file(path, rows)
        if count:
            removed[path.parent.name] = removed.get(path.parent.name, 0) + count
    return removed


def remove_rows_from_file(path: Path, rows: SubjectRows) -> int:
    """Remove the rows from one file; return their number. Leaves files without such rows untouched. Raises BusyFileError."""
    for _ in range(_MAX_ATTEMPTS):
        try:
            before = path.stat()
        except FileNotFoundError:
            return 0
        if not any(pc.any(rows.match_batch(batch)).as_py() for batch in _iter_batches(path)):
            return 0
        try:
            return _write_without(path, rows, (before.st_ino, before.st_mtime_ns))
        except _ChangedError:
            continue
    raise BusyFileError(f"{path.parent.name}/{path.name} keeps changing. Stop the daemon, then erase again.")


class _ChangedError(Exception):
    pass


def _write_without(path: Path, rows: SubjectRows, state: tuple[int, int]) -> int:
    removed = 0
    with atomic_write(path) as aside:
        aside.touch(mode=0o600)
        schema = pq.read_schema(path)
        with pq.ParquetWriter(aside, schema) as writer:
            for batch in _iter_batches(path):
                remaining = batch.filter(pc.invert(rows.match_batch(batch)))
                removed += batch.num_rows - remaining.num_rows
                writer.write_batch(remaining)
        # A newer version from another run stays.
        now = path.stat()
        if (now.st_ino, now.st_mtime_ns) != state:
            raise _ChangedError
    return removed


def has_subject_columns(path: Path) -> bool:
    """Whether it is a Parquet file with columns that identify subjects."""
    return path.suffix == ".parquet" and bool(
        {SUBJECT_COLUMN, EXAMPLE_COLUMN, *REPORT_COLUMNS} & set(pq.read_schema(path).names)
    )


def count_subject_rows(folder: Path, subjects: Collection[str]) -> dict[str, int]:
    """Table → remaining rows of these subjects."""
    found: dict[str, int] = {}
    for path in _list_files(folder) if subjects else ():
        if SUBJECT_COLUMN in pq.read_schema(path).names:
            count = _is_in(_read_subject_keys(path), subjects).true_count
            if count:
                found[path.parent.name] = found.get(path.parent.name, 0) + count
    return found


def find_batches_with_subjects(reports: Path, subjects: Collection[str]) -> list[str]:
    """Batches whose file below `reports` contains one of the subjects."""
    return [path.stem for path in _list_files(reports) if _is_in(_read_subject_keys(path), subjects).true_count]


def _read_subject_keys(path: Path) -> pa.Array:
    return pq.read_table(path, columns=[SUBJECT_COLUMN])[SUBJECT_COLUMN].combine_chunks()


def _is_in(column: pa.Array | pa.ChunkedArray, values: Collection[str]) -> pa.Array:
    return pc.fill_null(pc.is_in(column, value_set=pa.array(sorted(values), pa.string())), False)


def _iter_batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(_BATCH_ROWS)


def _list_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.parquet") if not path.name.startswith("."))
