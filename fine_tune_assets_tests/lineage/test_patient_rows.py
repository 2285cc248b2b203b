"""Rows of a patient leave every file, and nothing else does."""

import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.ledger.reviews.erasures import PatientIds
from fine_tune_assets.lineage.patient_rows import (
    BusyFileError,
    PatientRows,
    count_rows,
    find_ids,
    remove_rows,
    remove_rows_of_file,
)
from fine_tune_assets_tests.lineage.made import store

KEY = "a" * 64
IDS = PatientIds(frozenset({"b"}), frozenset({"b/1"}), frozenset({"e1"}))
ROWS = PatientRows(KEY, IDS)


def test_rows_go_by_patient_by_report_and_by_either_side_of_a_duplicate(layout: Layout) -> None:
    """Spans and duplicates name no patient."""
    store(layout, "reports", [{"report_id": "b/1", "patient_key": KEY}, {"report_id": "b/2", "patient_key": "o"}], "b")
    store(layout, "phi_spans", [{"report_id": "b/1"}, {"report_id": "b/1"}, {"report_id": "b/2"}], "b")
    pairs = [("b/1", "b/2"), ("b/3", "b/1"), ("b/3", "b/2")]
    store(layout, "duplicate_reports", [{"dropped_id": dropped, "kept_id": kept} for dropped, kept in pairs])
    assert remove_rows(layout.tables, ROWS) == {"reports": 1, "phi_spans": 2, "duplicate_reports": 2}
    assert pq.read_table(layout.table("reports", "b"))["report_id"].to_pylist() == ["b/2"]
    assert pq.read_table(layout.table("duplicate_reports"))["dropped_id"].to_pylist() == ["b/3"]
    assert remove_rows(layout.tables, ROWS) == {}


def test_everything_else_stays_as_it_is(layout: Layout) -> None:
    """Schema, order and rights of a file, and files in which nothing is of the patient."""
    untouched = store(layout, "scrubbed_reports", [{"report_id": "c/1", "patient_key": "o"}], "c")
    path = store(
        layout, "judge_scores", [{"example_id": e, "patient_key": k} for e, k in (("1", "o"), ("2", KEY), ("3", "p"))]
    )
    before, schema = untouched.stat().st_mtime_ns, pq.read_schema(path)
    remove_rows(layout.tables, ROWS)
    assert untouched.stat().st_mtime_ns == before
    assert pq.read_schema(path).equals(schema, check_metadata=True)
    assert pq.read_table(path)["example_id"].to_pylist() == ["1", "3"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_an_example_id_counts_only_where_no_patient_stands_beside_it(layout: Layout) -> None:
    """A row says itself whose it is; a table of ids alone can't."""
    alone = layout.tables / "later" / "later.parquet"
    write_table(alone, pa.table({"example_id": ["e1", "e2"]}))
    store(layout, "judge_scores", [{"example_id": "e1", "patient_key": "other"}])
    assert remove_rows(layout.tables, ROWS) == {"later": 1}


def test_a_patient_is_found_in_every_table_that_names_one(layout: Layout) -> None:
    """A draft of before may be the only trace of a report that is gone."""
    store(layout, "reports", [{"report_id": "b/1", "patient_key": KEY, "batch": "b"}], "b")
    store(layout, "approved_examples", [{"example_id": "e9", "report_id": "x/9", "patient_key": KEY}])
    found = find_ids(layout.tables, KEY)
    assert found == PatientIds(frozenset({"b"}), frozenset({"b/1", "x/9"}), frozenset({"e9"}))
    assert find_ids(layout.tables, "nobody") == PatientIds()
    assert count_rows(layout.tables, [KEY]) == {"reports": 1, "approved_examples": 1}


@dataclass(frozen=True)
class _WithAnotherWriter(PatientRows):
    """A run that stores the file again while its rows are looked at."""

    path: Path
    times: int

    def in_batch(self, batch: pa.RecordBatch) -> pa.Array:
        stored = pq.read_table(self.path)
        if stored.num_rows < self.times + 2:
            aside = self.path.with_suffix(".aside")
            pq.write_table(pa.concat_tables([stored, stored.slice(1, 1)]), aside)
            os.replace(aside, self.path)
        return super().in_batch(batch)


def test_what_a_run_stores_meanwhile_is_not_overwritten(layout: Layout) -> None:
    """The newer table may hold reports of others that the older one lacks."""
    path = store(
        layout, "reports", [{"report_id": "b/1", "patient_key": KEY}, {"report_id": "b/2", "patient_key": "o"}], "b"
    )
    assert remove_rows_of_file(path, _WithAnotherWriter(KEY, IDS, path, times=3)) == 1
    assert pq.read_table(path)["report_id"].to_pylist() == ["b/2"] * 4


def test_a_file_that_is_written_all_the_time_is_told_and_left(layout: Layout) -> None:
    """The erasure stays unfinished and says so."""
    path = store(
        layout, "reports", [{"report_id": "b/1", "patient_key": KEY}, {"report_id": "b/2", "patient_key": "o"}], "b"
    )
    with pytest.raises(BusyFileError, match="Stop the daemon"):
        remove_rows_of_file(path, _WithAnotherWriter(KEY, IDS, path, times=1000))
