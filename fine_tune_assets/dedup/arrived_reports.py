"""Which reports that were read did not get as far as deduplication. Owns the comparison of ids; reads no text."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq


def missing_by_batch(reports: Path, held: Path, unique: pa.Table, duplicates: pa.Table) -> dict[str, int]:
    """Batch → how many of its reports are neither in `unique`, nor dropped in `duplicates`, nor held back.

    `reports` and `held` are the folders with the Parquet files of all reports that were read, and of those held back.
    """
    if not any(reports.glob("*.parquet")):
        return {}
    held_ids = (pq.read_table(path, columns=["report_id"])[0] for path in sorted(held.glob("*.parquet")))
    columns = (unique["report_id"], duplicates["dropped_id"], *held_ids)
    chunks = [chunk for column in columns for chunk in column.chunks]
    arrived = pa.table({"report_id": pa.chunked_array(chunks, pa.string())})
    with duckdb.connect() as connection:
        connection.register("arrived", arrived)
        query = "select batch, count(*) from read_parquet(?) anti join arrived using (report_id) group by batch order by batch"
        return dict(connection.execute(query, [str(reports / "*.parquet")]).fetchall())
