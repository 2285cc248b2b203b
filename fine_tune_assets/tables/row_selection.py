"""Selects and sorts rows of tables with large text columns.

A `string` column counts bytes with 32 bits, so 2 GiB of text must stay in several chunks. No text column is therefore sorted,
taken from or joined as one array.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

_CHUNK_ROWS = 1_000
"""Rows per chunk. Even texts of two million characters each still fit."""


class ColumnSource(Protocol):
    """A table in memory, or one read on demand. Every call returns the same rows."""

    def select(self, names: Sequence[str], /) -> pa.Table: ...


def take_rows(table: pa.Table, rows: IntArray) -> pa.Table:
    """The rows in that order; zero-copy if they are consecutive."""
    if not len(rows) or (np.diff(rows) == 1).all():
        return table.slice(int(rows[0]) if len(rows) else 0, len(rows))
    chunks = table.to_batches()
    starts = np.cumsum([0, *(len(chunk) for chunk in chunks)])
    stretches = (rows[at : at + _CHUNK_ROWS] for at in range(0, len(rows), _CHUNK_ROWS))
    return pa.Table.from_batches([_take_from_chunks(chunks, starts, stretch) for stretch in stretches], table.schema)


def sort_by_column(table: pa.Table, name: str) -> pa.Table:
    """Sort by a column of short values, ascending."""
    return take_rows(table, sort_indices(table, name))


def sort_indices(table: pa.Table, name: str) -> IntArray:
    """Row indices that sort a column in ascending order."""
    return np.asarray(pc.sort_indices(table[name]), dtype=np.int64)


def to_single_array(texts: pa.ChunkedArray) -> pa.Array:
    """A column as one array with 64-bit offsets."""
    whole = texts.cast(pa.large_string()).combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def _take_from_chunks(chunks: Sequence[pa.RecordBatch], starts: IntArray, rows: IntArray) -> pa.RecordBatch:
    chunk_of = np.searchsorted(starts, rows, side="right") - 1
    order = np.argsort(chunk_of, kind="stable")
    asked = np.unique(chunk_of)
    pieces = [chunks[number].take(pa.array(rows[chunk_of == number] - starts[number])) for number in asked]
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return pa.concat_batches(pieces).take(pa.array(back)) if len(pieces) > 1 else pieces[0]
