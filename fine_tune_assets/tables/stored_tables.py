"""Tables that stay in their Parquet file until columns of them are asked for, for what is too large to be held whole.

Owns that every read sees the same rows: those of one state of the file, without the patients who were erased when it was opened.
Does not know where tables lie.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fine_tune_assets.core.errors import FineTuneError
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
