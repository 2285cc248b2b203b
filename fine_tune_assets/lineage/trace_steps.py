"""Queries the tables and the ledger for the steps of a trace, limited to columns without text."""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow.parquet as pq
import sqlalchemy as sa

from fine_tune_assets.core.errors import OutdatedTableError
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import decisions, deployments, releases, revocations, verdicts
from fine_tune_assets.lineage.trace_records import DecisionStep, DeploymentStep, ReleaseStep, VerdictStep
from fine_tune_assets.tables.asset_tables import TABLES
from fine_tune_assets.tables.duckdb_connection import open_cursor
from fine_tune_assets.tables.record_classes import list_displayable_columns

_UNIQUE_KEYS = {
    "reports": "report_id",
    "scrubbed_reports": "report_id",
    "drafted_examples": "example_id",
    "approved_examples": "example_id",
}
"""Tables with one row for each value of a column."""


class TableRows:
    """Reads tables in place; a table that does not exist yet has no rows."""

    def __init__(self, tables: Path) -> None:
        self._tables = tables
        self._queries: dict[str, tuple[str, list[str], list[str]] | None] = {}
        self._cached: dict[tuple[str, str, str], list[dict[str, Any]]] = {}

    def prefetch(self, name: str, column: str, values: Iterable[str]) -> None:
        """Fetch many values in one query, because each query costs milliseconds; other methods then use the cache."""
        missing = sorted(value for value in set(values) if (name, column, value) not in self._cached)
        if not missing:
            return
        found = self._fetch_rows(name, column, missing)
        self._cached |= {(name, column, value): [] for value in missing}
        for row in found:
            self._cached[name, column, row[column]].append(row)
            # Rows found by subject also answer queries by their own id.
            if (key := _UNIQUE_KEYS.get(name)) is not None and key in row:
                self._cached.setdefault((name, key, row[key]), [row])

    def find_row(self, name: str, column: str, value: str) -> dict[str, Any]:
        """The first row with this value, or an empty one."""
        self.prefetch(name, column, [value])
        return next(iter(self._cached[name, column, value]), {})

    def find_values(self, name: str, column: str, value: str, target: str) -> list[str]:
        """Sorted values of another column in the rows with this value."""
        rows = self.find_rows(name, column, value)
        self._require_column(name, target)
        return sorted({row[target] for row in rows})

    def find_rows(self, name: str, column: str, value: str) -> list[dict[str, Any]]:
        """Every row with this value."""
        self.prefetch(name, column, [value])
        return list(self._cached[name, column, value])

    def _fetch_rows(self, name: str, column: str, values: Sequence[str]) -> list[dict[str, Any]]:
        self._require_column(name, column)
        known = self._cached_query(name)
        if known is None:
            return []
        query, paths, _ = known
        filtered = f"{query} where {column} in ({', '.join('?' * len(values))})"
        found: Any = self._connection.sql(filtered, params=[paths, *values]).to_arrow_table()
        return list(found.to_pylist())

    def _require_column(self, name: str, column: str) -> None:
        """Raise OutdatedTableError if the table lacks the column: an empty result would be wrong."""
        known = self._cached_query(name)
        if known is not None and column not in known[2]:
            raise OutdatedTableError(name, column)

    def _cached_query(self, name: str) -> tuple[str, list[str], list[str]] | None:
        if name not in self._queries:
            self._queries[name] = self._build_query(name)
        return self._queries[name]

    def _build_query(self, name: str) -> tuple[str, list[str], list[str]] | None:
        """The query for a table with its files and columns; None without a table."""
        files = [path for path in sorted((self._tables / name).glob("*.parquet")) if not path.name.startswith(".")]
        if not files:
            return None
        # A table from an earlier version may lack a column of the current schema.
        stored = set.intersection(*(set(pq.read_schema(path).names) for path in files))
        columns = [column for column in list_displayable_columns(TABLES[name]) if column in stored]
        query = f"select {', '.join(columns)} from read_parquet(?, union_by_name = true)"
        return query, [str(path) for path in files], columns

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        return open_cursor()


S = TypeVar("S")
TrainingPair = tuple[str, str]
"""Adapter and the instruction set that it was trained on."""
_DECISION = ("decision_id", "decision", "role", "reviewer", "decided_at", "meaning")
"""The first fields of a DecisionStep."""
_VERDICT = [verdicts.c[name] for name in VerdictStep.__dataclass_fields__]
_RELEASE = [releases.c[name] for name in ReleaseStep.__dataclass_fields__ if name != "deployments"]
_DEPLOYMENT = [deployments.c[name] for name in DeploymentStep.__dataclass_fields__]


def find_decisions(ledger: Ledger, example_ids: Collection[str]) -> dict[str, list[tuple[DecisionStep, str | None]]]:
    """Example → every decision about it in order, including revoked ones, each with its report id."""
    query = (
        sa.select(
            *(decisions.c[name] for name in ("example_id", "report_id", *_DECISION)),
            decisions.c.output.is_not(None).label("is_repaired"),
            revocations.c.revoked_by,
            revocations.c.revoked_at,
        )
        .outerjoin(revocations, revocations.c.decision_id == decisions.c.decision_id)
        .where(decisions.c.example_id.in_(example_ids))
        .order_by(decisions.c.sequence)
    )
    found: dict[str, list[tuple[DecisionStep, str | None]]] = {example_id: [] for example_id in example_ids}
    for example_id, report_id, *values in _fetch_rows(ledger, query):
        found[example_id].append((DecisionStep(*values), report_id))
    return found


class TrainingSteps:
    """Verdicts and releases of each training, read once because a page needs all trainings of an example."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def find_verdicts(self, pair: TrainingPair) -> tuple[VerdictStep, ...]:
        return tuple(self._verdicts.get(pair, ()))

    def find_releases(self, pair: TrainingPair) -> tuple[ReleaseStep, ...]:
        return tuple(self._releases.get(pair, ()))

    @cached_property
    def _verdicts(self) -> dict[TrainingPair, list[VerdictStep]]:
        return self._group_by_pair(VerdictStep, verdicts, _VERDICT, verdicts.c.sequence)

    @cached_property
    def _releases(self) -> dict[TrainingPair, list[ReleaseStep]]:
        by_release: dict[str, list[DeploymentStep]] = {}
        query = sa.select(deployments.c.release_id, *_DEPLOYMENT).order_by(deployments.c.sequence)
        for release_id, *values in _fetch_rows(self._ledger, query):
            by_release.setdefault(release_id, []).append(DeploymentStep(*values))

        def step(release_id: str, verdict_id: str, recorded_at: datetime) -> ReleaseStep:
            return ReleaseStep(release_id, verdict_id, recorded_at, tuple(by_release.get(release_id, ())))

        return self._group_by_pair(step, releases, _RELEASE, releases.c.recorded_at, releases.c.release_id)

    def _group_by_pair(
        self, step: Callable[..., S], table: sa.Table, columns: list[Any], *order: Any
    ) -> dict[TrainingPair, list[S]]:
        found: dict[TrainingPair, list[S]] = {}
        pair = (table.c.adapter_id, table.c.instruction_set_fingerprint)
        query = sa.select(*pair, *columns).order_by(*order)
        for adapter_id, instruction_set, *values in _fetch_rows(self._ledger, query):
            found.setdefault((adapter_id, instruction_set), []).append(step(*values))
        return found


def _fetch_rows(ledger: Ledger, query: sa.Select[Any]) -> list[Any]:
    with ledger.read() as connection:
        return list(connection.execute(query).all())
