"""A subject's rows are removed from every file, and nothing else is."""

import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.ledger.reviews.erasures import SubjectIds
from fine_tune_assets.lineage.subject_rows import (
    BusyFileError,
    SubjectRows,
    count_subject_rows,
    find_ids_in_tables,
    remove_rows,
    remove_rows_from_file,
)
from fine_tune_assets_tests.lineage.stored_data import store

KEY = "a" * 64
IDS = SubjectIds(frozenset({"b"}), frozenset({"b/1"}), frozenset({"e1"}))
ROWS = SubjectRows(KEY, IDS)


def test_rows_are_removed_by_subject_by_report_and_by_either_side_of_a_duplicate(layout: Layout) -> None:
    """Spans and duplicates have no subject column."""
    store(layout, "reports", [{"report_id": "b/1", "subject_key": KEY}, {"report_id": "b/2", "subject_key": "o"}], "b")
    store(layout, "phi_spans", [{"report_id": "b/1"}, {"report_id": "b/1"}, {"report_id": "b/2"}], "b")
    pairs = [("b/1", "b/2"), ("b/3", "b/1"), ("b/3", "b/2")]
    store(layout, "duplicate_reports", [{"dropped_id": dropped, "kept_id": kept} for dropped, kept in pairs])
    assert remove_rows(layout.tables, ROWS) == {"reports": 1, "phi_spans": 2, "duplicate_reports": 2}
    assert pq.read_table(layout.table("reports", "b"))["report_id"].to_pylist() == ["b/2"]
    assert pq.read_table(layout.table("duplicate_reports"))["dropped_id"].to_pylist() == ["b/3"]
    assert remove_rows(layout.tables, ROWS) == {}


def test_everything_else_stays_unchanged(layout: Layout) -> None:
    """Schema, order and permissions of a file, and files without the subject."""
    untouched = store(layout, "scrubbed_reports", [{"report_id": "c/1", "subject_key": "o"}], "c")
    path = store(
        layout, "judge_scores", [{"example_id": e, "subject_key": k} for e, k in (("1", "o"), ("2", KEY), ("3", "p"))]
    )
    before, schema = untouched.stat().st_mtime_ns, pq.read_schema(path)
    remove_rows(layout.tables, ROWS)
    assert untouched.stat().st_mtime_ns == before
    assert pq.read_schema(path).equals(schema, check_metadata=True)
    assert pq.read_table(path)["example_id"].to_pylist() == ["1", "3"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_example_id_counts_only_without_a_subject(layout: Layout) -> None:
    """A subject column decides; tables of ids have none."""
    alone = layout.tables / "later" / "later.parquet"
    write_table(alone, pa.table({"example_id": ["e1", "e2"]}))
    store(layout, "judge_scores", [{"example_id": "e1", "subject_key": "other"}])
    assert remove_rows(layout.tables, ROWS) == {"later": 1}


def test_subject_is_found_in_every_table_with_a_subject_column(layout: Layout) -> None:
    """An old draft may be the only trace of a deleted report."""
    store(layout, "reports", [{"report_id": "b/1", "subject_key": KEY, "batch": "b"}], "b")
    store(layout, "approved_examples", [{"example_id": "e9", "report_id": "x/9", "subject_key": KEY}])
    found = find_ids_in_tables(layout.tables, KEY)
    assert found == SubjectIds(frozenset({"b"}), frozenset({"b/1", "x/9"}), frozenset({"e9"}))
    assert find_ids_in_tables(layout.tables, "nobody") == SubjectIds()
    assert count_subject_rows(layout.tables, [KEY]) == {"reports": 1, "approved_examples": 1}


@dataclass(frozen=True)
class _WithAnotherWriter(SubjectRows):
    """A run that replaces the file while its rows are being read."""

    path: Path
    times: int

    def match_batch(self, batch: pa.RecordBatch) -> pa.Array:
        stored = pq.read_table(self.path)
        if stored.num_rows < self.times + 2:
            aside = self.path.with_suffix(".aside")
            pq.write_table(pa.concat_tables([stored, stored.slice(1, 1)]), aside)
            os.replace(aside, self.path)
        return super().match_batch(batch)


def test_file_replaced_meanwhile_is_not_overwritten(layout: Layout) -> None:
    """The newer table may contain reports of others that the older one lacks."""
    path = store(
        layout, "reports", [{"report_id": "b/1", "subject_key": KEY}, {"report_id": "b/2", "subject_key": "o"}], "b"
    )
    assert remove_rows_from_file(path, _WithAnotherWriter(KEY, IDS, path, times=3)) == 1
    assert pq.read_table(path)["report_id"].to_pylist() == ["b/2"] * 4


def test_file_that_keeps_changing_is_reported_and_unchanged(layout: Layout) -> None:
    """The erasure stays unfinished and says so."""
    path = store(
        layout, "reports", [{"report_id": "b/1", "subject_key": KEY}, {"report_id": "b/2", "subject_key": "o"}], "b"
    )
    with pytest.raises(BusyFileError, match="parquet"):
        remove_rows_from_file(path, _WithAnotherWriter(KEY, IDS, path, times=1000))
