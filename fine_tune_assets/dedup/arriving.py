"""Which reports that were read did not get as far as deduplication. Owns the comparison of ids; reads no text."""

from pathlib import Path

import duckdb
import pyarrow as pa


def missing_by_batch(reports: Path, unique: pa.Table, duplicates: pa.Table) -> dict[str, int]:
    """Batch → how many of its reports are neither in `unique` nor dropped in `duplicates`.

    `reports` is the folder with the Parquet files of all reports that were read.
    """
    if not any(reports.glob("*.parquet")):
        return {}
    arrived = pa.table({"report_id": [*unique["report_id"].to_pylist(), *duplicates["dropped_id"].to_pylist()]})
    with duckdb.connect() as connection:
        connection.register("arrived", arrived)
        query = "select batch, count(*) from read_parquet(?) anti join arrived using (report_id) group by batch order by batch"
        return dict(connection.execute(query, [str(reports / "*.parquet")]).fetchall())
