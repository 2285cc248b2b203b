"""Reads tables from Parquet lazily, by column or by id.

All reads of a StoredTable see one version of the file, without subjects who were erased when it was opened. In tables from
earlier versions, missing optional columns are null; a missing required column raises an error with the remedy.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fine_tune_assets.core.errors import FineTuneError, OutdatedTableError
from fine_tune_assets.tables.asset_tables import TABLES
from fine_tune_assets.tables.record_classes import conform

if TYPE_CHECKING:
    from upath import UPath

SUBJECT_KEY = "subject_key"


class ChangedTableError(FineTuneError):
    """The table was replaced while it was being read."""


@dataclass(frozen=True)
class StoredTable:
    """The result of `open_table`."""

    path: "UPath"
    schema: pa.Schema
    file_version: str
    erased_subjects: frozenset[str] = frozenset()

    def select(self, names: Sequence[str]) -> pa.Table:
        """Read columns. Raises ChangedTableError if the file was replaced since it was opened, or TableError."""
        wanted = pa.schema([self.schema.field(name) for name in names])
        with self.path.open("rb") as file:
            # Without pre-buffering, which would keep the compressed texts in memory next to the texts.
            stored = pq.ParquetFile(file, pre_buffer=False)
            asked = {*names, SUBJECT_KEY} if self._is_filtered else set(names)
            table = stored.read([name for name in stored.schema_arrow.names if name in asked])
        if _read_file_version(self.path) != self.file_version:
            raise ChangedTableError(
                f"{self.path.name} was replaced while it was being read. Materialize the downstream assets again."
            )
        return conform(drop_subjects(table, self.erased_subjects) if self._is_filtered else table, wanted)

    def exclude_subjects(self, subjects: Collection[str]) -> "StoredTable":
        """The table without rows of these subjects."""
        return replace(self, erased_subjects=frozenset(subjects))

    @property
    def _is_filtered(self) -> bool:
        return bool(self.erased_subjects) and SUBJECT_KEY in self.schema.names


def open_table(path: "UPath", schema: pa.Schema) -> StoredTable:
    """Open a table lazily. Raises TableError if its columns do not fit the schema, OSError, pa.ArrowInvalid."""
    state = _read_file_version(path)
    with path.open("rb") as file:
        conform(pq.read_schema(file).empty_table(), schema)
    return StoredTable(path, schema, state)


def drop_subjects(table: pa.Table, subjects: Collection[str]) -> pa.Table:
    """The rows of other subjects and rows without a subject, such as general data."""
    if not subjects:
        return table
    is_theirs = pc.is_in(table[SUBJECT_KEY], value_set=pa.array(sorted(subjects), pa.string()))
    return table.filter(pc.invert(is_theirs))


def _read_file_version(path: "UPath") -> str:
    """Changes when the file is replaced."""
    return str(path.fs.ukey(path.path))


def read_rows_if_present(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Every row with these columns (or all); empty if the table does not exist."""
    if not path.is_file():
        return []
    return list(pq.read_table(path, columns=None if columns is None else list(columns), partitioning=None).to_pylist())


def read_rows(
    path: Path, table: str, key: str, values: Collection[str], columns: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Rows whose `key` is one of the values, with these columns (or all). Raises OutdatedTableError, OSError, pa.ArrowInvalid."""
    schema, stored = TABLES[table], pq.read_schema(path).names
    wanted = pa.schema([schema.field(name) for name in columns]) if columns is not None else schema
    for name in (key, *wanted.names):
        if name not in stored and (name == key or not schema.field(name).nullable):
            raise OutdatedTableError(table, name)
    present = [name for name in wanted.names if name in stored]
    found = pq.read_table(path, columns=present, filters=[(key, "in", sorted(values))], partitioning=None)
    return list(conform(found, wanted).to_pylist())
