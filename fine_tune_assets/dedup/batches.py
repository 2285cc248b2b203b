"""The reports of all batches, read as they are needed: of a million reports the texts alone take more memory than there is.

Owns the place of a report: batch by batch, and in a batch in the order of ids, whatever order they are stored in. Does not know
where a batch is stored, nor what is compared.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fine_tune_assets.core.tables import SCRUBBED_REPORTS, UNIQUE_REPORTS, check_table
from fine_tune_assets.dedup.choosing import WRITTEN_ON
from fine_tune_assets.dedup.columns import Columns, one_array, rows_at
from fine_tune_assets.dedup.sketching import starts_of
from fine_tune_assets.dedup.words import Ints

PART_REPORTS = 50_000
"""Reports of a batch that are sketched and stored at once: about 100 MB of texts and as much of shingles."""


class Batches:
    """All batches by their name. Holds a number for each report, and the texts of one batch at most."""

    def __init__(self, batches: Mapping[str, Columns]) -> None:
        # The id of a report begins with its batch and a slash: in this order ids ascend from batch to batch.
        named = sorted(batches.items(), key=lambda item: f"{item[0]}/")
        self._names, self._batches = [name for name, _ in named], [batch for _, batch in named]
        self._orders = [_order(batch.select(["report_id"])) for batch in self._batches]
        self._starts = starts_of(np.array([len(order) for order in self._orders], dtype=np.int64))
        self._open: int | None = None
        self._texts: pa.Table | None = None

    def __len__(self) -> int:
        return int(self._starts[-1])

    def parts(self) -> Iterator[tuple[str, pa.Table]]:
        """Each batch, a large one in parts: under which name it is stored, and `report_id`, `patient_key`, `length`,
        `written_on` and `tagged_text` of its reports in order of ids."""
        for name, batch, order in zip(self._names, self._batches, self._orders, strict=True):
            facts, texts = _facts(batch), batch.select(["tagged_text"])
            for at in range(0, len(order), PART_REPORTS):
                rows = order[at : at + PART_REPORTS]
                part = rows_at(facts, rows).append_column("tagged_text", rows_at(texts, rows)["tagged_text"])
                yield f"{name}/{at // PART_REPORTS}" if at else name, part

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

    def unique(self, is_kept: NDArray[np.bool_]) -> pa.Table:
        """UNIQUE_REPORTS of the places with a flag, sorted by id; a chunk or more a batch."""
        self._texts = None
        tables = [UNIQUE_REPORTS.empty_table()]
        for batch, order, start in zip(self._batches, self._orders, self._starts[:-1], strict=True):
            rows = order[is_kept[start : start + len(order)]]
            if len(rows):
                tables.append(rows_at(batch.select(UNIQUE_REPORTS.names), rows).cast(UNIQUE_REPORTS))
        whole = pa.concat_tables(tables)
        return rows_at(whole, _order(whole))


def by_batch(reports: pa.Table) -> dict[str, pa.Table]:
    """A SCRUBBED_REPORTS table by batch. Raises TableError for another table."""
    check_table(reports, SCRUBBED_REPORTS)
    names = pc.unique(reports["batch"]).to_pylist()
    if len(names) == 1:
        return {names[0]: reports}
    return {name: reports.filter(pc.equal(reports["batch"], name)) for name in names}


def _order(reports: pa.Table) -> Ints:
    return np.asarray(pc.sort_indices(reports["report_id"]), dtype=np.int64)


def _facts(batch: Columns) -> pa.Table:
    read = batch.select(["report_id", "patient_key", "text", WRITTEN_ON])
    length = pc.utf8_length(read["text"]).cast(pa.int64())
    return read.drop_columns(["text"]).append_column("length", length)
