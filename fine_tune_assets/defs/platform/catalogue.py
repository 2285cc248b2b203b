"""Access to stored tables by asset name, for reads that bypass the IO manager (`parquet_io_manager.py`).

A step may read only tables that its asset declares, so that the lineage in the Dagster UI is complete. Outside a step (sensors,
schedules, commands) nothing is checked.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.defs.platform.asset_keys import asset_name
from fine_tune_assets.tables.asset_tables import AUXILIARY_TABLES, TABLES
from fine_tune_assets.tables.record_classes import conform
from fine_tune_assets.tables.stored_tables import read_rows, read_rows_if_present

STANDS_FOR = {
    "incoming_corrections": ("scrubbed_corrections", "quarantined_corrections"),
    "drafting_models": ("base_models",),
}
"""External asset → tables of later stages that its readers may read. A sensor reports the asset when they change. Declaring
the tables themselves would make the graph run backwards, or in a cycle, which Dagster rejects."""


class UndeclaredReadError(FineTuneError):
    """A step tried to read a table that its asset does not declare."""


@dataclass(frozen=True)
class StoredAsset:
    """The stored table of an asset, or an auxiliary table of one: one Parquet file, or one per batch.

    Contains rows of erased subjects until the erasure is complete.
    """

    name: str
    folder: Path

    @property
    def path(self) -> Path:
        """The file of an unpartitioned asset; it may not exist."""
        return self.folder / f"{self.name}.parquet"

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))

    def table(self, batch: str | None = None) -> pa.Table:
        """The table of an unpartitioned asset, or of one batch; empty if it was never materialized. Raises TableError."""
        schema, path = TABLES[self.name], self._file(batch)
        return conform(pq.read_table(path, partitioning=None), schema) if path.is_file() else schema.empty_table()

    def write(self, table: pa.Table, batch: str | None = None) -> None:
        """Replace an auxiliary table, or one batch of it. The IO manager stores the tables of assets. Raises TableError."""
        write_table(self._file(batch), conform(table, TABLES[self.name]))

    def _file(self, batch: str | None) -> Path:
        return self.path if batch is None else self.folder / f"{batch}.parquet"

    def rows(self, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The rows of an unpartitioned asset, with these columns or all; none if it was never materialized."""
        return read_rows_if_present(self.path, columns)

    def find(
        self, key: str, values: Collection[str], columns: Sequence[str] | None = None, *, batch: str | None = None
    ) -> list[dict[str, Any]]:
        """The rows whose `key` column has one of the values, in one batch or in all. Raises OutdatedTableError."""
        files = self.files() if batch is None else [self.folder / f"{batch}.parquet"]
        present = [file for file in files if values and file.is_file()]
        return [row for file in present for row in read_rows(file, self.name, key, values, columns)]


def stored_asset(layout: Layout, name: str) -> StoredAsset:
    """Raises UndeclaredReadError inside a step whose asset does not declare the table."""
    _require_declared(name)
    return StoredAsset(name, layout.tables / name)


def _require_declared(table: str) -> None:
    step = _current_step()
    if step is None:
        return
    readers = {*step.assets_def.keys, *(check.asset_key for check in step.assets_def.check_specs)}
    names = sorted(asset_name(key) for key in readers)
    asset = AUXILIARY_TABLES.get(table, table)
    if asset in _declared_inputs(step, readers):
        return
    raise UndeclaredReadError(
        f"Step {step.op.name} of asset {', '.join(names)} reads the table {table}, which is not declared. Add {asset!r} to "
        "`deps` of the asset, or to `additional_deps` of the check. If a change of the table must not trigger the asset, also "
        "name it as `ignored` in the asset's automation condition."
    )


def _current_step() -> dg.OpExecutionContext | None:
    """The context of the asset or check that runs in this thread; None outside a step."""
    for kind in (dg.AssetExecutionContext, dg.AssetCheckExecutionContext):
        with suppress(dg.DagsterInvariantViolationError):
            return kind.get().op_execution_context
    return None


def _declared_inputs(step: dg.OpExecutionContext, readers: Collection[dg.AssetKey]) -> set[str]:
    """The assets themselves, their dependencies with what these stand for, and the additional dependencies of their checks.

    As names: Dagster 1.13.27 keeps the plain keys of a check's additional dependencies when the graph's keys get a prefix.
    """
    graph = step.job_def.asset_layer.asset_graph
    inputs = (graph.get(key).parent_keys for key in readers if graph.has(key))
    check_inputs = {dep.asset_key for check in step.assets_def.check_specs for dep in check.additional_deps}
    declared = {asset_name(key) for key in {*readers, *check_inputs}.union(*inputs)}
    return declared.union(*(STANDS_FOR.get(name, ()) for name in declared))
