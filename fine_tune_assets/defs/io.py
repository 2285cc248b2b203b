"""Where tables are kept: Parquet, one folder an asset, one file a partition, written aside and renamed. Never a pickle."""

from typing import TYPE_CHECKING

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.tables import TABLES, conform

if TYPE_CHECKING:
    from upath import UPath


class ParquetTables(dg.UPathIOManager):
    """Stores pyarrow Tables; refuses anything else, and a table that does not fit its schema."""

    extension = ".parquet"

    def dump_to_path(self, context: dg.OutputContext, obj: pa.Table, path: "UPath") -> None:
        name = context.asset_key.to_user_string()
        if not isinstance(obj, pa.Table):
            raise dg.DagsterInvariantViolationError(f"{name} returned a {type(obj).__name__} instead of a table.")
        table = conform(obj, TABLES[name])
        aside = path.with_name(f".{path.name}.{context.run_id}.tmp")
        with aside.open("wb") as file:
            pq.write_table(table, file)
        if path.protocol in ("", "file", "local"):
            aside.chmod(0o600)  # the first stages hold raw report text
        aside.rename(path)

    def load_from_path(self, context: dg.InputContext, path: "UPath") -> pa.Table:
        with path.open("rb") as file:
            return conform(pq.read_table(file), TABLES[context.asset_key.to_user_string()])

    def get_asset_relative_path(self, context: dg.InputContext | dg.OutputContext) -> "UPath":
        # A folder for an unpartitioned asset too: everything of an asset is below one name.
        path = super().get_asset_relative_path(context)
        return path if context.has_asset_partitions else path / path.name


def joined(partitions: dict[str, pa.Table] | pa.Table | None, name: str) -> pa.Table:
    """All partitions as one table, in the order of their names."""
    if isinstance(partitions, pa.Table):
        return partitions
    if not partitions:
        return TABLES[name].empty_table()
    return pa.concat_tables(partitions[key] for key in sorted(partitions))
