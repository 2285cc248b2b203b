"""Rows of tables whose texts are too long to be joined.

Owns that no column of texts is sorted, taken from or joined as a whole: a `string` column counts its bytes with 32 bits, so 2 GiB
of texts fit in several chunks and not in one.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_ROWS_AT_ONCE = 1_000
"""As many rows become one chunk. Texts of two million characters each would still fit."""


class Columns(Protocol):
    """A table that is in memory, or one that is read when columns are asked for. Each time it has the same rows."""

    def select(self, names: Sequence[str], /) -> pa.Table: ...


def rows_at(table: pa.Table, rows: Ints) -> pa.Table:
    """The rows in that order. Without a copy if they follow each other."""
    if not len(rows) or (np.diff(rows) == 1).all():
        return table.slice(int(rows[0]) if len(rows) else 0, len(rows))
    chunks = table.to_batches()
    starts = np.cumsum([0, *(len(chunk) for chunk in chunks)])
    stretches = (rows[at : at + _ROWS_AT_ONCE] for at in range(0, len(rows), _ROWS_AT_ONCE))
    return pa.Table.from_batches([_taken(chunks, starts, stretch) for stretch in stretches], table.schema)


def sorted_by(table: pa.Table, name: str) -> pa.Table:
    """Ascending by a column that is short enough itself."""
    return rows_at(table, places_in_order(table, name))


def places_in_order(table: pa.Table, name: str) -> Ints:
    """The numbers of the rows, ascending by a column."""
    return np.asarray(pc.sort_indices(table[name]), dtype=np.int64)


def one_array(texts: pa.ChunkedArray) -> pa.Array:
    """A column as one array that counts with 64 bits."""
    whole = texts.cast(pa.large_string()).combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def _taken(chunks: Sequence[pa.RecordBatch], starts: Ints, rows: Ints) -> pa.RecordBatch:
    chunk_of = np.searchsorted(starts, rows, side="right") - 1
    order = np.argsort(chunk_of, kind="stable")
    asked = np.unique(chunk_of)
    pieces = [chunks[number].take(pa.array(rows[chunk_of == number] - starts[number])) for number in asked]
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return pa.concat_batches(pieces).take(pa.array(back)) if len(pieces) > 1 else pieces[0]
