"""The only way from an asset's name to its stored table, for every read that does not come through the IO manager.

Owns that a step reads only what its asset declares, so that the lineage in the Dagster UI is complete. Outside of a step
(sensors, schedules, commands) nothing is checked. Must not hold: which columns a stage reads, and how a table is written (see
`io.py`).
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
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.tables.catalogue import TABLES
from fine_tune_assets.tables.records import conform
from fine_tune_assets.tables.stored_tables import read_rows, rows_if_stored

CYCLES = {
    (
        "quarantined_corrections",
        "approved_examples",
    ): "Corrections are compared with the approved examples, which are made of "
    "the corrections that passed this comparison.",
}
"""(asset, table that it reads) → why that is so. Declaring the table would make a cycle, which Dagster refuses."""


class UndeclaredReadError(FineTuneError):
    """A step read a table that its asset does not declare."""


@dataclass(frozen=True)
class StoredAsset:
    """The stored table of one asset: one Parquet file, or one for each batch. It holds rows of erased patients until the erasure
    has ended."""

    name: str
    folder: Path

    @property
    def path(self) -> Path:
        """The file of an unpartitioned asset, whether or not it exists."""
        return self.folder / f"{self.name}.parquet"

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))

    def table(self) -> pa.Table:
        """Of an unpartitioned asset; empty if it was never made. Raises TableError."""
        schema = TABLES[self.name]
        return (
            conform(pq.read_table(self.path, partitioning=None), schema)
            if self.path.is_file()
            else schema.empty_table()
        )

    def rows(self, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Of an unpartitioned asset, with these columns or all; none if it was never made."""
        return rows_if_stored(self.path, columns)

    def find(
        self, key: str, values: Collection[str], columns: Sequence[str] | None = None, *, batch: str | None = None
    ) -> list[dict[str, Any]]:
        """The rows whose `key` is one of the values, of one batch or of every file. Raises OldTableError."""
        files = self.files() if batch is None else [self.folder / f"{batch}.parquet"]
        present = [file for file in files if values and file.is_file()]
        return [row for file in present for row in read_rows(file, self.name, key, values, columns)]


def stored_asset(layout: Layout, name: str) -> StoredAsset:
    """Raises UndeclaredReadError if a step of an asset that does not declare the table asks for it."""
    _require_declared(name)
    return StoredAsset(name, layout.tables / name)


def _require_declared(table: str) -> None:
    step = _current_step()
    if step is None:
        return
    readers = {*step.assets_def.keys, *(check.asset_key for check in step.assets_def.check_specs)}
    names = sorted(key.to_user_string() for key in readers)
    if dg.AssetKey(table) in _declared(step, readers) or any((name, table) in CYCLES for name in names):
        return
    raise UndeclaredReadError(
        f"Step {step.op.name} of asset {', '.join(names)} reads the table {table}, which is not declared. Add {table!r} to "
        "`deps` of the asset, or to `additional_deps` of the check. If a change of the table must not make the asset again, also "
        "name it as `untriggered` in the asset's automation condition."
    )


def _current_step() -> dg.OpExecutionContext | None:
    """Of the asset or asset check that runs in this thread; None outside of a step."""
    for kind in (dg.AssetExecutionContext, dg.AssetCheckExecutionContext):
        with suppress(dg.DagsterInvariantViolationError):
            return kind.get().op_execution_context
    return None


def _declared(step: dg.OpExecutionContext, readers: Collection[dg.AssetKey]) -> set[dg.AssetKey]:
    """The assets themselves, their dependencies, and what their check declares besides."""
    graph = step.job_def.asset_layer.asset_graph
    inputs = (graph.get(key).parent_keys for key in readers if graph.has(key))
    of_check = {dep.asset_key for check in step.assets_def.check_specs for dep in check.additional_deps}
    return {*readers, *of_check}.union(*inputs)
