"""Rows of the tables by one id, without text. Owns the query and which columns it may give away."""

from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from fine_tune_assets.core.errors import OldTableError
from fine_tune_assets.core.tables import TABLES, shown_columns


class TableRows:
    """Reads tables in place; a table that was not made yet has no rows."""

    def __init__(self, tables: Path) -> None:
        self._tables = tables
        self._queries: dict[str, tuple[str, list[str], list[str]] | None] = {}

    def one(self, name: str, column: str, value: str) -> dict[str, Any]:
        """The first row with this value, or an empty one."""
        found = self._rows(name, column, value, limit=1)
        return found[0] if found else {}

    def values(self, name: str, column: str, value: str, wanted: str) -> list[str]:
        """The values of another column in the rows with this value, sorted."""
        return sorted({row[wanted] for row in self._rows(name, column, value, limit=None, needs=(wanted,))})

    def rows(self, name: str, column: str, value: str) -> list[dict[str, Any]]:
        """Every row with this value."""
        return self._rows(name, column, value, limit=None)

    def _rows(
        self, name: str, column: str, value: str, limit: int | None, needs: tuple[str, ...] = ()
    ) -> list[dict[str, Any]]:
        """Raises OldTableError if the table lacks what is asked for: an empty answer would be a wrong one."""
        if name not in self._queries:
            self._queries[name] = self._query(name)
        known = self._queries[name]
        if known is None:
            return []
        query, paths, columns = known
        lacking = [wanted for wanted in (column, *needs) if wanted not in columns]
        if lacking:
            raise OldTableError(name, lacking[0])
        asked = f"{query} where {column} = ?" + (f" limit {limit}" if limit else "")
        found: Any = self._connection.sql(asked, params=[paths, value]).to_arrow_table()
        return list(found.to_pylist())

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
        return duckdb.connect()
