"""Where tables are kept: Parquet, one folder an asset, one file a partition, written aside and renamed. Never a pickle.

Owns also that no step is given the row of an erased patient, whatever still lies in a file: here, since every table that a step
reads comes through here.
"""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.files import make_folder, write_table
from fine_tune_assets.tables.catalogue import TABLES
from fine_tune_assets.tables.records import conform
from fine_tune_assets.tables.stored_tables import PATIENT_KEY, StoredTable, open_table, without_patients

if TYPE_CHECKING:
    from upath import UPath

_LOCAL = ("", "file", "local")


class ParquetTables(dg.UPathIOManager):
    """Stores pyarrow Tables; refuses anything else, and a table that does not fit its schema.

    A step that takes a StoredTable, or a dict of them, reads columns itself when it needs them.
    """

    extension = ".parquet"

    def __init__(self, base_path: "UPath", erased_patients: Callable[[], Collection[str]]) -> None:
        """`erased_patients` is asked at every load: a patient may be erased while a run is going on."""
        super().__init__(base_path=base_path)
        self._erased_patients = erased_patients

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

    def load_from_path(self, context: dg.InputContext, path: "UPath") -> pa.Table | StoredTable:
        schema = TABLES[context.asset_key.to_user_string()]
        if _is_read_later(context):
            return open_table(path, schema)
        with path.open("rb") as file:
            return conform(pq.read_table(file), schema)

    def load_input(self, context: dg.InputContext) -> Any:
        loaded = self._without_erased(super().load_input(context))
        # Of an input with exactly one partition Dagster hands over the bare table, of one with none nothing.
        if get_origin(context.dagster_type.typing_type) is dict and not isinstance(loaded, dict):
            return {} if loaded is None else {context.asset_partition_keys[0]: loaded}
        return loaded

    def _without_erased(self, loaded: Any) -> Any:
        """Of one table or of all partitions; asked after they were read, so that nobody is missed who was erased meanwhile."""
        tables = loaded if isinstance(loaded, dict) else {"": loaded}
        if not any(table is not None and PATIENT_KEY in table.schema.names for table in tables.values()):
            return loaded
        erased = self._erased_patients()
        kept = {
            name: table.without(erased) if isinstance(table, StoredTable) else without_patients(table, erased)
            for name, table in tables.items()
        }
        return kept if isinstance(loaded, dict) else kept[""]

    def get_asset_relative_path(self, context: dg.InputContext | dg.OutputContext) -> "UPath":
        # A folder for an unpartitioned asset too: everything of an asset is below one name.
        path = super().get_asset_relative_path(context)
        return path if context.has_asset_partitions else path / path.name


def _is_read_later(context: dg.InputContext) -> bool:
    """Whether the step takes StoredTables: one, or one a partition."""
    kind = context.dagster_type.typing_type
    return StoredTable in (kind, *get_args(kind))
