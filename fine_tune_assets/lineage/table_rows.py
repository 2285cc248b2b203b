"""Rows of the tables by one id, without text. Owns the query and which columns it may give away."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from fine_tune_assets.core.duck import cursor
from fine_tune_assets.core.errors import OldTableError
from fine_tune_assets.core.tables import TABLES, shown_columns

_KEYS = {
    "reports": "report_id",
    "scrubbed_reports": "report_id",
    "drafted_examples": "example_id",
    "approved_examples": "example_id",
}
"""Tables with one row for each value of a column."""


class TableRows:
    """Reads tables in place; a table that was not made yet has no rows."""

    def __init__(self, tables: Path) -> None:
        self._tables = tables
        self._queries: dict[str, tuple[str, list[str], list[str]] | None] = {}
        self._known: dict[tuple[str, str, str], list[dict[str, Any]]] = {}

    def look_up(self, name: str, column: str, values: Iterable[str]) -> None:
        """Ask for many values at once: each question costs some milliseconds. The other methods then know them."""
        wanted = sorted(value for value in set(values) if (name, column, value) not in self._known)
        if not wanted:
            return
        found = self._ask(name, column, wanted)
        self._known |= {(name, column, value): [] for value in wanted}
        for row in found:
            self._known[name, column, row[column]].append(row)
            # What was found by its patient need not be asked for by its own id.
            if (key := _KEYS.get(name)) is not None and key in row:
                self._known.setdefault((name, key, row[key]), [row])

    def one(self, name: str, column: str, value: str) -> dict[str, Any]:
        """The first row with this value, or an empty one."""
        self.look_up(name, column, [value])
        return next(iter(self._known[name, column, value]), {})

    def values(self, name: str, column: str, value: str, wanted: str) -> list[str]:
        """The values of another column in the rows with this value, sorted."""
        rows = self.rows(name, column, value)
        self._require(name, wanted)
        return sorted({row[wanted] for row in rows})

    def rows(self, name: str, column: str, value: str) -> list[dict[str, Any]]:
        """Every row with this value."""
        self.look_up(name, column, [value])
        return list(self._known[name, column, value])

    def _ask(self, name: str, column: str, values: Sequence[str]) -> list[dict[str, Any]]:
        self._require(name, column)
        known = self._known_query(name)
        if known is None:
            return []
        query, paths, _ = known
        asked = f"{query} where {column} in ({', '.join('?' * len(values))})"
        found: Any = self._connection.sql(asked, params=[paths, *values]).to_arrow_table()
        return list(found.to_pylist())

    def _require(self, name: str, column: str) -> None:
        """Raises OldTableError if the table lacks what is asked for: an empty answer would be a wrong one."""
        known = self._known_query(name)
        if known is not None and column not in known[2]:
            raise OldTableError(name, column)

    def _known_query(self, name: str) -> tuple[str, list[str], list[str]] | None:
        if name not in self._queries:
            self._queries[name] = self._query(name)
        return self._queries[name]

    def _query(self, name: str) -> tuple[str, list[str], list[str]] | None:
        """What selects every row of a table, its files and its columns; None while there is none."""
        files = [path for path in sorted((self._tables / name).glob("*.parquet")) if not path.name.startswith(".")]
        if not files:
            return None
        # A table of before may lack a column that the schema has now.
        stored = set.intersection(*(set(pq.read_schema(path).names) for path in files))
        columns = [column for column in shown_columns(TABLES[name]) if column in stored]
        query = f"select {', '.join(columns)} from read_parquet(?, union_by_name = true)"
        return query, [str(path) for path in files], columns

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        return cursor()
