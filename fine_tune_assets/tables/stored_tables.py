"""Tables that stay in their Parquet file until columns of them are asked for, and rows of one by an id.

Every read of a StoredTable sees the same rows: those of one state of the file, without the patients who were erased when it was
opened. A table of an older version gives an absent value where one may be absent, else an error that says what to do. Does not
know where tables lie.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq

from fine_tune_assets.core.errors import FineTuneError, OldTableError
from fine_tune_assets.tables.catalogue import TABLES
from fine_tune_assets.tables.records import conform

if TYPE_CHECKING:
    from upath import UPath

PATIENT_KEY = "patient_key"


class ChangedTableError(FineTuneError):
    """A table was written anew while it was read."""


@dataclass(frozen=True)
class StoredTable:
    """What `open_table` gives."""

    path: "UPath"
    schema: pa.Schema
    state: str
    erased: frozenset[str] = frozenset()

    def select(self, names: Sequence[str]) -> pa.Table:
        """The columns as they are stored now. Raises ChangedTableError if that is not what was opened, or TableError."""
        wanted = pa.schema([self.schema.field(name) for name in names])
        with self.path.open("rb") as file:
            # Not all of it ahead of reading: the compressed texts would lie in memory beside the texts.
            stored = pq.ParquetFile(file, pre_buffer=False)
            asked = {*names, PATIENT_KEY} if self._is_filtered else set(names)
            table = stored.read([name for name in stored.schema_arrow.names if name in asked])
        if _state(self.path) != self.state:
            raise ChangedTableError(f"{self.path.name} was written anew while it was read. Make what follows it again.")
        return conform(without_patients(table, self.erased) if self._is_filtered else table, wanted)

    def without(self, patients: Collection[str]) -> "StoredTable":
        """The same without rows of these patients."""
        return replace(self, erased=frozenset(patients))

    @property
    def _is_filtered(self) -> bool:
        return bool(self.erased) and PATIENT_KEY in self.schema.names


def open_table(path: "UPath", schema: pa.Schema) -> StoredTable:
    """Raises TableError if the file's columns do not fit the schema, OSError, pa.ArrowInvalid."""
    state = _state(path)
    with path.open("rb") as file:
        conform(pq.read_schema(file).empty_table(), schema)
    return StoredTable(path, schema, state)


def without_patients(table: pa.Table, patients: Collection[str]) -> pa.Table:
    """The rows of everybody else; those of nobody, such as general data, stay."""
    if not patients:
        return table
    is_theirs = pc.is_in(table[PATIENT_KEY], value_set=pa.array(sorted(patients), pa.string()))
    return table.filter(pc.invert(is_theirs))


def _state(path: "UPath") -> str:
    """Changes when another file takes this one's place."""
    return str(path.fs.ukey(path.path))


def rows_if_stored(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Every row, with these columns or all; none where the table was never made."""
    if not path.is_file():
        return []
    return list(pq.read_table(path, columns=None if columns is None else list(columns), partitioning=None).to_pylist())


def read_rows(
    path: Path, table: str, key: str, values: Collection[str], columns: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The rows whose `key` is one of the values, with these columns or all. Raises OldTableError, OSError, pa.ArrowInvalid."""
    schema, stored = TABLES[table], pq.read_schema(path).names
    wanted = pa.schema([schema.field(name) for name in columns]) if columns is not None else schema
    for name in (key, *wanted.names):
        if name not in stored and (name == key or not schema.field(name).nullable):
            raise OldTableError(table, name)
    present = [name for name in wanted.names if name in stored]
    found = pq.read_table(path, columns=present, filters=[(key, "in", sorted(values))], partitioning=None)
    return list(conform(found, wanted).to_pylist())
