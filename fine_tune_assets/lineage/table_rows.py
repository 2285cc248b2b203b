"""Rows of the tables by one id, without text. Owns the query and which columns it may give away."""

from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from fine_tune_assets.core.tables import TABLES, shown_columns


class TableRows:
    """Reads tables in place; a table that was not made yet has no rows."""

    def __init__(self, tables: Path) -> None:
        self._tables = tables

    def one(self, name: str, column: str, value: str) -> dict[str, Any]:
        """The first row with this value, or an empty one."""
        found = self._query(name, column, value, limit=1)
        return found[0] if found else {}

    def values(self, name: str, column: str, value: str, wanted: str) -> list[str]:
        """The values of another column in the rows with this value, sorted."""
        return sorted({row[wanted] for row in self._query(name, column, value, limit=None)})

    def _query(self, name: str, column: str, value: str, limit: int | None) -> list[dict[str, Any]]:
        files = [path for path in sorted((self._tables / name).glob("*.parquet")) if not path.name.startswith(".")]
        if not files:
            return []
        # A table of before may lack a column that the schema has now.
        stored = set.intersection(*(set(pq.read_schema(path).names) for path in files))
        columns = ", ".join(c for c in shown_columns(TABLES[name]) if c in stored)
        query = f"select {columns} from read_parquet(?, union_by_name = true) where {column} = ?"
        with duckdb.connect() as connection:
            paths = [str(path) for path in files]
            asked = query + (f" limit {limit}" if limit else "")
            found: Any = connection.sql(asked, params=[paths, value]).to_arrow_table()
            return list(found.to_pylist())
