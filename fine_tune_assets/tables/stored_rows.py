"""Rows of a stored table, read in place: all of them, or some by an id.

Owns reading few rows without the rest, and what an older version's table gives: an absent value where none is needed, else an
error that says what to do. Which tables there are is `catalogue`'s.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from fine_tune_assets.core.errors import OldTableError
from fine_tune_assets.tables.catalogue import TABLES
from fine_tune_assets.tables.records import conform


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
