"""The reports of all batches, read as they are needed: the two texts of each of a million reports would fill the memory.

The place of a report is by batch, and in a batch in the order of ids, whatever order they are stored in. Also says which reports
that were read did not get as far as deduplication. Does not know where a batch is stored, nor what is compared.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fine_tune_assets.dedup.retained_reports import WRITTEN_ON
from fine_tune_assets.dedup.sketches import starts_of
from fine_tune_assets.dedup.words import Ints
from fine_tune_assets.tables.columns import Columns, one_array, places_in_order, rows_at, sorted_by
from fine_tune_assets.tables.dedup import UniqueReport
from fine_tune_assets.tables.phi import ScrubbedReport
from fine_tune_assets.tables.records import check_table

PART_REPORTS = 20_000
"""Reports of a batch that are sketched and stored at once: about 50 MB of texts and as much of shingles."""


class Batches:
    """All batches by their name. Holds a number for each report, and the texts of one batch at most."""

    def __init__(self, batches: Mapping[str, Columns], part_reports: int = PART_REPORTS) -> None:
        # The id of a report begins with its batch and a slash: in this order ids ascend from batch to batch.
        named = sorted(batches.items(), key=lambda item: f"{item[0]}/")
        self._names, self._batches = [name for name, _ in named], [batch for _, batch in named]
        self._orders = [places_in_order(batch.select(["report_id"]), "report_id") for batch in self._batches]
        self._starts = starts_of(np.array([len(order) for order in self._orders], dtype=np.int64))
        self._part_reports = part_reports
        self._open: int | None = None
        self._texts: pa.Table | None = None

    def __len__(self) -> int:
        return int(self._starts[-1])

    def parts(self) -> Iterator[tuple[str, pa.Table]]:
        """Each batch, a large one in parts: under which name it is stored, and `report_id`, `patient_key`, `length`,
        `written_on` and `tagged_text` of its reports in order of ids."""
        for name, batch, order in zip(self._names, self._batches, self._orders, strict=True):
            # In a generator of its own, so that one batch is let go before the next is read.
            yield from _parts(name, batch, order, self._part_reports)

    def texts_at(self, places: Ints) -> pa.Array:
        """What is compared of the reports at some places of one batch."""
        if not len(places):
            return pa.array([], pa.large_string())
        number = int(np.searchsorted(self._starts, places[0], side="right")) - 1
        if self._texts is None or self._open != number:
            self._texts = None
            self._open, self._texts = number, self._batches[number].select(["tagged_text"])
        rows = self._orders[number][places - self._starts[number]]
        return one_array(rows_at(self._texts, rows)["tagged_text"])

    def fingerprints_at(self, places: Ints) -> list[str]:
        """Of the scrubbed texts at some places, in their order."""
        found: dict[int, str] = {}
        numbers = np.searchsorted(self._starts, places, side="right") - 1
        for number in np.unique(numbers).tolist():
            chosen = places[numbers == number]
            rows = self._orders[number][chosen - self._starts[number]]
            values = rows_at(self._batches[number].select(["fingerprint"]), rows)["fingerprint"].to_pylist()
            found.update(zip(chosen.tolist(), values, strict=True))
        return [found[place] for place in places.tolist()]

    def unique(self, is_kept: NDArray[np.bool_]) -> pa.Table:
        """`unique_reports` of the places with a flag, sorted by id; a chunk or more a batch."""
        self._texts = None
        tables = [UniqueReport.SCHEMA.empty_table()]
        for batch, order, start in zip(self._batches, self._orders, self._starts[:-1], strict=True):
            rows = order[is_kept[start : start + len(order)]]
            if len(rows):
                tables.append(rows_at(batch.select(UniqueReport.SCHEMA.names), rows).cast(UniqueReport.SCHEMA))
        return sorted_by(pa.concat_tables(tables), "report_id")


def by_batch(reports: pa.Table) -> dict[str, pa.Table]:
    """A table of `ScrubbedReport` rows by batch. Raises TableError for another table."""
    check_table(reports, ScrubbedReport.SCHEMA)
    names = pc.unique(reports["batch"]).to_pylist()
    if len(names) == 1:
        return {names[0]: reports}
    return {name: reports.filter(pc.equal(reports["batch"], name)) for name in names}


def _parts(name: str, batch: Columns, order: Ints, part_reports: int) -> Iterator[tuple[str, pa.Table]]:
    facts, texts = _facts(batch), batch.select(["tagged_text"])
    for number, at in enumerate(range(0, len(order), part_reports)):
        rows = order[at : at + part_reports]
        part = rows_at(facts, rows).append_column("tagged_text", rows_at(texts, rows)["tagged_text"])
        yield f"{name}/{number}" if number else name, part


def _facts(batch: Columns) -> pa.Table:
    read = batch.select(["report_id", "patient_key", "text", WRITTEN_ON])
    length = pc.utf8_length(read["text"]).cast(pa.int64())
    return read.drop_columns(["text"]).append_column("length", length)


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
