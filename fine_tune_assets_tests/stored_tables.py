"""Tables in files, as a step gets them that reads columns when it needs them."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
from upath import UPath

from fine_tune_assets.core.files import write_table
from fine_tune_assets.tables.stored_tables import StoredTable, open_table


def stored_in(folder: Path, tables: Mapping[str, pa.Table]) -> dict[str, StoredTable]:
    """By the name of the batch. Each call writes files of its own."""
    own = Path(tempfile.mkdtemp(dir=folder))
    for name, table in tables.items():
        write_table(own / f"{name}.parquet", table)
    return {name: open_table(UPath(own / f"{name}.parquet"), table.schema) for name, table in tables.items()}
