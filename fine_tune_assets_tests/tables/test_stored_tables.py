"""Lazy tables: reads match the opened version, without erased subjects."""

from pathlib import Path

import pyarrow as pa
import pytest
from upath import UPath

from fine_tune_assets.core.errors import TableError
from fine_tune_assets.core.files import write_table
from fine_tune_assets.tables.dedup_rows import UniqueReport
from fine_tune_assets.tables.record_classes import check_table, table_from_rows
from fine_tune_assets.tables.stored_tables import ChangedTableError, StoredTable, open_table

PLAIN = {"batch": "b", "source": "s", "scrubber_version": "v", "fingerprint": "f"}


def _reports(*subjects: str, text: str = "Plantedword.") -> pa.Table:
    rows = [{**PLAIN, "report_id": f"b/{p}", "subject_key": p, "text": text} for p in subjects]
    return table_from_rows(rows, UniqueReport.SCHEMA)


def _stored(folder: Path, table: pa.Table) -> StoredTable:
    write_table(folder / "b.parquet", table)
    return open_table(UPath(folder / "b.parquet"), UniqueReport.SCHEMA)


def test_columns_are_returned_in_the_requested_order(tmp_path: Path) -> None:
    stored = _stored(tmp_path, _reports("p", "q"))
    assert stored.select(["text", "report_id"]).to_pylist() == [
        {"text": "Plantedword.", "report_id": "b/p"},
        {"text": "Plantedword.", "report_id": "b/q"},
    ]
    complete = stored.select(UniqueReport.SCHEMA.names)
    check_table(complete, UniqueReport.SCHEMA)
    assert complete.equals(_reports("p", "q"))


def test_erased_subjects_are_excluded_for_any_columns(tmp_path: Path) -> None:
    """The gate: ids must be removed with the texts, or a text would be attributed to another report."""
    stored = _stored(tmp_path, _reports("p", "q")).exclude_subjects(["p"])
    assert stored.select(["report_id"]).to_pylist() == [{"report_id": "b/q"}]
    assert stored.select(["subject_key", "text"]).num_rows == 1


def test_file_replaced_since_it_was_opened_is_refused(tmp_path: Path) -> None:
    """Rows are addressed by position; in another file they would be other reports."""
    stored = _stored(tmp_path, _reports("p", "q"))
    _stored(tmp_path, _reports("q", "p"))
    with pytest.raises(ChangedTableError, match=r"b\.parquet") as caught:
        stored.select(["text"])
    assert "Plantedword" not in str(caught.value)


def test_missing_optional_column_is_null_and_a_required_one_is_refused_early(tmp_path: Path) -> None:
    """A table from an earlier version."""
    older = _reports("p").drop_columns(["written_on"])
    assert _stored(tmp_path, older).select(["written_on"]).to_pylist() == [{"written_on": None}]
    with pytest.raises(TableError):
        _stored(tmp_path, older.drop_columns(["text"]))
