"""Reads the reports of all batches on demand: the two texts of a million reports would not fit into memory.

A report's place is defined by batch and, within it, by id, regardless of storage order.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fine_tune_assets.dedup.retained_reports import WRITTEN_ON
from fine_tune_assets.dedup.sketches import offsets_from_counts
from fine_tune_assets.dedup.word_hashes import Ints
from fine_tune_assets.tables.dedup_rows import UniqueReport
from fine_tune_assets.tables.record_classes import check_table
from fine_tune_assets.tables.row_selection import ColumnSource, sort_by_column, sort_indices, take_rows, to_single_array
from fine_tune_assets.tables.scrubbing_rows import ScrubbedReport

REPORTS_PER_PART = 20_000
"""Number of reports sketched and stored at once: about 50 MB of texts and as much of shingles."""


class ReportBatches:
    """All batches by name. Memory holds a number per report and the texts of one batch at most."""

    def __init__(self, batches: Mapping[str, ColumnSource], reports_per_part: int = REPORTS_PER_PART) -> None:
        # A report id starts with its batch and a slash; in this order, ids ascend across batches.
        named = sorted(batches.items(), key=lambda item: f"{item[0]}/")
        self._names, self._batches = [name for name, _ in named], [batch for _, batch in named]
        self._orders = [sort_indices(batch.select(["report_id"]), "report_id") for batch in self._batches]
        self._starts = offsets_from_counts(np.array([len(order) for order in self._orders], dtype=np.int64))
        self._reports_per_part = reports_per_part
        self._open_batch: int | None = None
        self._texts: pa.Table | None = None

    def __len__(self) -> int:
        return int(self._starts[-1])

    def parts(self) -> Iterator[tuple[str, pa.Table]]:
        """Yield each batch's storage name and table; large batches in parts.

        Columns: `report_id`, `subject_key`, `length`, `written_on` and `tagged_text`, sorted by id.
        """
        for name, batch, order in zip(self._names, self._batches, self._orders, strict=True):
            # In a separate generator, so that a batch is released before the next one is read.
            yield from _parts(name, batch, order, self._reports_per_part)

    def texts_at(self, places: Ints) -> pa.Array:
        """Return the compared texts at some places of one batch."""
        if not len(places):
            return pa.array([], pa.large_string())
        number = int(np.searchsorted(self._starts, places[0], side="right")) - 1
        if self._texts is None or self._open_batch != number:
            self._texts = None
            self._open_batch, self._texts = number, self._batches[number].select(["tagged_text"])
        rows = self._orders[number][places - self._starts[number]]
        return to_single_array(take_rows(self._texts, rows)["tagged_text"])

    def fingerprints_at(self, places: Ints) -> list[str]:
        """Return the fingerprints of the scrubbed texts at some places, in their order."""
        fingerprints: dict[int, str] = {}
        numbers = np.searchsorted(self._starts, places, side="right") - 1
        for number in np.unique(numbers).tolist():
            chosen = places[numbers == number]
            rows = self._orders[number][chosen - self._starts[number]]
            values = take_rows(self._batches[number].select(["fingerprint"]), rows)["fingerprint"].to_pylist()
            fingerprints.update(zip(chosen.tolist(), values, strict=True))
        return [fingerprints[place] for place in places.tolist()]

    def unique_reports(self, is_kept: NDArray[np.bool_]) -> pa.Table:
        """Return `unique_reports` for the flagged places, sorted by id, with at least one chunk per batch."""
        self._texts = None
        tables = [UniqueReport.SCHEMA.empty_table()]
        for batch, order, start in zip(self._batches, self._orders, self._starts[:-1], strict=True):
            rows = order[is_kept[start : start + len(order)]]
            if len(rows):
                tables.append(take_rows(batch.select(UniqueReport.SCHEMA.names), rows).cast(UniqueReport.SCHEMA))
        return sort_by_column(pa.concat_tables(tables), "report_id")


def split_by_batch(reports: pa.Table) -> dict[str, pa.Table]:
    """Split a table of `ScrubbedReport` rows by batch. Raises TableError for another table."""
    check_table(reports, ScrubbedReport.SCHEMA)
    names = pc.unique(reports["batch"]).to_pylist()
    if len(names) == 1:
        return {names[0]: reports}
    return {name: reports.filter(pc.equal(reports["batch"], name)) for name in names}


def _parts(name: str, batch: ColumnSource, order: Ints, reports_per_part: int) -> Iterator[tuple[str, pa.Table]]:
    facts, texts = _facts(batch), batch.select(["tagged_text"])
    for number, at in enumerate(range(0, len(order), reports_per_part)):
        rows = order[at : at + reports_per_part]
        part = take_rows(facts, rows).append_column("tagged_text", take_rows(texts, rows)["tagged_text"])
        yield f"{name}/{number}" if number else name, part


def _facts(batch: ColumnSource) -> pa.Table:
    read = batch.select(["report_id", "subject_key", "text", WRITTEN_ON])
    length = pc.utf8_length(read["text"]).cast(pa.int64())
    return read.drop_columns(["text"]).append_column("length", length)
