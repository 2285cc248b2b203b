"""Where tables are kept: Parquet, one folder an asset, one file a partition, written aside and renamed. Never a pickle."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.files import make_folder, write_table
from fine_tune_assets.core.tables import TABLES, conform

if TYPE_CHECKING:
    from upath import UPath


_LOCAL = ("", "file", "local")


class ParquetTables(dg.UPathIOManager):
    """Stores pyarrow Tables; refuses anything else, and a table that does not fit its schema."""

    extension = ".parquet"

    def dump_to_path(self, context: dg.OutputContext, obj: pa.Table, path: "UPath") -> None:
        name = context.asset_key.to_user_string()
        if not isinstance(obj, pa.Table):
            raise dg.DagsterInvariantViolationError(f"{name} returned a {type(obj).__name__} instead of a table.")
        table = conform(obj, TABLES[name])
        if path.protocol in _LOCAL:
            write_table(Path(path.path), table)
        else:
            # In one piece: a file that is closed because of an error would take the good object's place half written.
            whole = pa.BufferOutputStream()
            pq.write_table(table, whole)
            path.write_bytes(whole.getvalue().to_pybytes())

    def make_directory(self, path: "UPath") -> None:
        if path.protocol in _LOCAL:
            make_folder(Path(path.path))
        else:
            super().make_directory(path)

    def load_from_path(self, context: dg.InputContext, path: "UPath") -> pa.Table:
        with path.open("rb") as file:
            return conform(pq.read_table(file), TABLES[context.asset_key.to_user_string()])

    def load_input(self, context: dg.InputContext) -> Any:
        loaded = super().load_input(context)
        # Of an input with exactly one partition Dagster hands over the bare table, of one with none nothing.
        if get_origin(context.dagster_type.typing_type) is dict and not isinstance(loaded, dict):
            return {} if loaded is None else {context.asset_partition_keys[0]: loaded}
        return loaded

    def get_asset_relative_path(self, context: dg.InputContext | dg.OutputContext) -> "UPath":
        # A folder for an unpartitioned asset too: everything of an asset is below one name.
        path = super().get_asset_relative_path(context)
        return path if context.has_asset_partitions else path / path.name


def joined(partitions: dict[str, pa.Table], name: str) -> pa.Table:
    """All partitions as one table, in the order of their names."""
    if not partitions:
        return TABLES[name].empty_table()
    return pa.concat_tables(partitions[key] for key in sorted(partitions))
