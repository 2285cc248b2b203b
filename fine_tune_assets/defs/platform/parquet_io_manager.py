"""Stores asset tables as Parquet: one folder per asset, one file per partition, written atomically.

Drops the rows of erased subjects from every table that it loads, whatever the file still contains.
"""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.errors import FineTuneError, materialize_hint
from fine_tune_assets.core.files import make_folder, write_table
from fine_tune_assets.defs.platform.asset_keys import asset_name
from fine_tune_assets.tables.asset_tables import TABLES
from fine_tune_assets.tables.record_classes import conform
from fine_tune_assets.tables.stored_tables import SUBJECT_KEY, StoredTable, drop_subjects, open_table

if TYPE_CHECKING:
    from upath import UPath

_LOCAL = ("", "file", "local")


class MissingTableError(FineTuneError):
    """An input was never materialized."""


class ParquetIOManager(dg.UPathIOManager):
    """Stores pyarrow Tables, and rejects any other type and tables that don't match their schema.

    A step whose input is a StoredTable, or a dict of them, reads single columns on demand.
    """

    extension = ".parquet"

    def __init__(self, base_path: "UPath", erased_subjects: Callable[[], Collection[str]]) -> None:
        """`erased_subjects` is called at every load, since a subject may be erased during a run."""
        super().__init__(base_path=base_path)
        self._erased_subjects = erased_subjects

    def dump_to_path(self, context: dg.OutputContext, obj: pa.Table, path: "UPath") -> None:
        name = asset_name(context.asset_key)
        if not isinstance(obj, pa.Table):
            raise dg.DagsterInvariantViolationError(f"{name} returned a {type(obj).__name__} instead of a table.")
        table = conform(obj, TABLES[name])
        if path.protocol in _LOCAL:
            write_table(Path(path.path), table)
        else:
            # In a single write: a file closed after an error would replace the stored object with a partial one.
            buffer = pa.BufferOutputStream()
            pq.write_table(table, buffer)
            path.write_bytes(buffer.getvalue().to_pybytes())

    def make_directory(self, path: "UPath") -> None:
        if path.protocol in _LOCAL:
            make_folder(Path(path.path))
        else:
            super().make_directory(path)

    def load_from_path(self, context: dg.InputContext, path: "UPath") -> pa.Table | StoredTable:
        schema = TABLES[asset_name(context.asset_key)]
        if _is_lazy(context):
            return open_table(path, schema)
        with path.open("rb") as file:
            return conform(pq.read_table(file), schema)

    def load_input(self, context: dg.InputContext) -> Any:
        try:
            loaded = self._drop_erased(super().load_input(context))
        except FileNotFoundError as error:
            name = asset_name(context.asset_key)
            raise MissingTableError(f"{name} was never materialized. {materialize_hint(f'+{name}')}") from error
        # Dagster passes the table itself for an input with one partition, and None for one with no partition.
        if get_origin(context.dagster_type.typing_type) is dict and not isinstance(loaded, dict):
            return {} if loaded is None else {context.asset_partition_keys[0]: loaded}
        return loaded

    def _drop_erased(self, loaded: Any) -> Any:
        """Drop erased subjects from a table or all partitions. Reads them after the tables, so that none is missed."""
        tables = loaded if isinstance(loaded, dict) else {"": loaded}
        if not any(table is not None and SUBJECT_KEY in table.schema.names for table in tables.values()):
            return loaded
        erased = self._erased_subjects()
        remaining = {
            name: table.exclude_subjects(erased) if isinstance(table, StoredTable) else drop_subjects(table, erased)
            for name, table in tables.items()
        }
        return remaining if isinstance(loaded, dict) else remaining[""]

    def get_asset_relative_path(self, context: dg.InputContext | dg.OutputContext) -> "UPath":
        from upath import UPath

        # Without the product line, which has a data folder of its own. Unpartitioned assets have a folder too, so that each asset
        # has exactly one.
        path = UPath(asset_name(context.asset_key))
        return path if context.has_asset_partitions else path / path.name


def _is_lazy(context: dg.InputContext) -> bool:
    """Whether the step's input is a StoredTable, or a dict of them."""
    kind = context.dagster_type.typing_type
    return StoredTable in (kind, *get_args(kind))
