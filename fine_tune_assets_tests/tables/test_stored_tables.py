"""Tables that stay in their file: what is read is what was opened, without erased patients."""

from pathlib import Path

import pyarrow as pa
import pytest
from upath import UPath

from fine_tune_assets.core.errors import TableError
from fine_tune_assets.core.files import write_table
from fine_tune_assets.tables.dedup import UniqueReport
from fine_tune_assets.tables.records import check_table, table_of
from fine_tune_assets.tables.stored_tables import ChangedTableError, StoredTable, open_table

PLAIN = {"batch": "b", "source": "s", "scrubber_version": "v", "fingerprint": "f"}


def _reports(*patients: str, text: str = "Plantedword.") -> pa.Table:
    rows = [{**PLAIN, "report_id": f"b/{p}", "patient_key": p, "text": text} for p in patients]
    return table_of(rows, UniqueReport.SCHEMA)


def _stored(folder: Path, table: pa.Table) -> StoredTable:
    write_table(folder / "b.parquet", table)
    return open_table(UPath(folder / "b.parquet"), UniqueReport.SCHEMA)


def test_columns_come_in_the_order_they_are_asked_for(tmp_path: Path) -> None:
    stored = _stored(tmp_path, _reports("p", "q"))
    assert stored.select(["text", "report_id"]).to_pylist() == [
        {"text": "Plantedword.", "report_id": "b/p"},
        {"text": "Plantedword.", "report_id": "b/q"},
    ]
    whole = stored.select(UniqueReport.SCHEMA.names)
    check_table(whole, UniqueReport.SCHEMA)
    assert whole.equals(_reports("p", "q"))


def test_no_row_of_an_erased_patient_is_read_whichever_columns_are_asked_for(tmp_path: Path) -> None:
    """The gate: ids must vanish with the texts, or a text would be taken for another report's."""
    stored = _stored(tmp_path, _reports("p", "q")).without(["p"])
    assert stored.select(["report_id"]).to_pylist() == [{"report_id": "b/q"}]
    assert stored.select(["patient_key", "text"]).num_rows == 1


def test_a_file_that_was_written_anew_since_is_not_read_any_further(tmp_path: Path) -> None:
    """Rows are found by their number: of another file they would be other reports' texts."""
    stored = _stored(tmp_path, _reports("p", "q"))
    _stored(tmp_path, _reports("q", "p"))
    with pytest.raises(ChangedTableError, match=r"^b\.parquet was written anew") as caught:
        stored.select(["text"])
    assert "Plantedword" not in str(caught.value)


def test_a_column_that_may_be_absent_is_and_one_that_may_not_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    """A table of an older version."""
    older = _reports("p").drop_columns(["written_on"])
    assert _stored(tmp_path, older).select(["written_on"]).to_pylist() == [{"written_on": None}]
    with pytest.raises(TableError):
        _stored(tmp_path, older.drop_columns(["text"]))
