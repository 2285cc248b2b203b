"""The steps of a trace that the tables and the ledger know. Owns the queries and which columns they may give away."""

from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import sqlalchemy as sa

from fine_tune_assets.core.errors import OldTableError
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import decisions, deployments, releases, revocations, verdicts
from fine_tune_assets.lineage.records import DecisionStep, DeploymentStep, ReleaseStep, VerdictStep
from fine_tune_assets.tables.catalogue import TABLES
from fine_tune_assets.tables.duck import cursor
from fine_tune_assets.tables.records import shown_columns

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


Pair = tuple[str, str]
"""Of an adapter and the instruction set that it was trained on."""
_DECISION = ("example_id", "decision_id", "decision", "role", "reviewer", "decided_at", "meaning", "report_id")
_VERDICT = [verdicts.c[name] for name in VerdictStep.__dataclass_fields__]
_RELEASE = [releases.c[name] for name in ReleaseStep.__dataclass_fields__ if name != "deployments"]
_DEPLOYMENT = [deployments.c[name] for name in DeploymentStep.__dataclass_fields__]


def decisions_on(ledger: Ledger, example_ids: Collection[str]) -> dict[str, list[tuple[DecisionStep, str | None]]]:
    """Example → every decision about it in its order, revoked ones too, each with the report that it names."""
    query = (
        sa.select(
            *(decisions.c[name] for name in _DECISION),
            decisions.c.output.is_not(None).label("is_repaired"),
            revocations.c.revoked_by,
            revocations.c.revoked_at,
        )
        .outerjoin(revocations, revocations.c.decision_id == decisions.c.decision_id)
        .where(decisions.c.example_id.in_(example_ids))
        .order_by(decisions.c.sequence)
    )
    found: dict[str, list[tuple[DecisionStep, str | None]]] = {example_id: [] for example_id in example_ids}
    for row in _rows(ledger, query):
        step = DecisionStep(**{k: v for k, v in row.items() if k not in ("example_id", "report_id")})
        found[row["example_id"]].append((step, row["report_id"]))
    return found


class TrainingSteps:
    """What became of each training: read once for all of them, since a page asks for every one that saw an example."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def verdicts(self, pair: Pair) -> tuple[VerdictStep, ...]:
        return tuple(VerdictStep(**values) for values in self._verdicts.get(pair, ()))

    def releases(self, pair: Pair) -> tuple[ReleaseStep, ...]:
        return tuple(
            ReleaseStep(**values, deployments=tuple(self._deployments.get(values["release_id"], ())))
            for values in self._releases.get(pair, ())
        )

    @cached_property
    def _verdicts(self) -> dict[Pair, list[dict[str, Any]]]:
        return self._by_pair(verdicts, _VERDICT, verdicts.c.sequence)

    @cached_property
    def _releases(self) -> dict[Pair, list[dict[str, Any]]]:
        return self._by_pair(releases, _RELEASE, releases.c.recorded_at, releases.c.release_id)

    @cached_property
    def _deployments(self) -> dict[str, list[DeploymentStep]]:
        found: dict[str, list[DeploymentStep]] = {}
        query = sa.select(deployments.c.release_id, *_DEPLOYMENT).order_by(deployments.c.sequence)
        for row in _rows(self._ledger, query):
            values = dict(row)
            found.setdefault(values.pop("release_id"), []).append(DeploymentStep(**values))
        return found

    def _by_pair(self, table: sa.Table, columns: list[Any], *order: Any) -> dict[Pair, list[dict[str, Any]]]:
        found: dict[Pair, list[dict[str, Any]]] = {}
        pair = (table.c.adapter_id, table.c.instruction_set_fingerprint)
        for row in _rows(self._ledger, sa.select(*pair, *columns).order_by(*order)):
            values = dict(row)
            key = values.pop("adapter_id"), values.pop("instruction_set_fingerprint")
            found.setdefault(key, []).append(values)
        return found


def _rows(ledger: Ledger, query: sa.Select[Any]) -> list[Any]:
    with ledger.read() as connection:
        return list(connection.execute(query).mappings().all())
