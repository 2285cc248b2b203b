"""Tables in files, for steps that read columns on demand."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
from upath import UPath

from fine_tune_assets.core.files import write_table
from fine_tune_assets.tables.stored_tables import StoredTable, open_table


def stored_in(folder: Path, tables: Mapping[str, pa.Table]) -> dict[str, StoredTable]:
    """Store tables by batch name. Each call writes separate files."""
    own = Path(tempfile.mkdtemp(dir=folder))
    for name, table in tables.items():
        write_table(own / f"{name}.parquet", table)
    return {name: open_table(UPath(own / f"{name}.parquet"), table.schema) for name, table in tables.items()}
