"""Tables match their schemas or are refused, and columns with text are never shown."""

import traceback
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.errors import TableError
from fine_tune_assets.core.files import write_table
from fine_tune_assets.tables.asset_tables import TABLES
from fine_tune_assets.tables.common_columns import KnownIdentifier
from fine_tune_assets.tables.dedup_rows import DuplicateReport
from fine_tune_assets.tables.instruction_rows import InstructionRow
from fine_tune_assets.tables.record_classes import (
    Record,
    check_table,
    conform,
    iter_records,
    list_displayable_columns,
    read_single_record,
    table_from_records,
    table_from_rows,
)
from fine_tune_assets.tables.report_rows import Report, UnreadableReport

MARKER = "Zyxwvutquark"
DUPLICATE = {"dropped_id": "b/2", "kept_id": "b/1", "kind": "exact", "similarity": 1.0, "reason": "longer"}
UNREADABLE = {"batch": "b", "origin_file": "f", "record": None, "reason": "empty", "detail": "", "size_bytes": 0}
REPORT = {
    "report_id": "b/1",
    "batch": "b",
    "source": "s",
    "subject_key": "p",
    "text": MARKER,
    "known_identifiers": [{"kind": "name", "value": MARKER}],
    "origin_file": "f",
    "fingerprint": "x",
}


def test_optional_value_may_be_absent() -> None:
    """A complete file has no row number: null, not 0."""
    assert table_from_rows([UNREADABLE], UnreadableReport.SCHEMA).to_pylist() == [UNREADABLE]


def test_missing_required_value_is_named_by_column() -> None:
    """Counts and columns only: the row's text stays out of the message."""
    with pytest.raises(TableError, match="subject_key") as caught:
        table_from_rows([{**REPORT, "subject_key": None}], Report.SCHEMA)
    assert MARKER not in str(caught.value)


def test_check_refuses_other_columns() -> None:
    """Columns in another order are another table for code that reads by position."""
    table = table_from_rows([DUPLICATE], DuplicateReport.SCHEMA)
    for other in (
        table.select(table.schema.names[::-1]),
        table.drop_columns(["kind"]),
        table.append_column("x", [[1]]),
    ):
        with pytest.raises(TableError, match="dropped_id"):
            check_table(other, DuplicateReport.SCHEMA)


def test_check_refuses_another_type() -> None:
    """An id that became a number is detected at its source."""
    table = table_from_rows([DUPLICATE], DuplicateReport.SCHEMA).set_column(0, "dropped_id", pa.array([2]))
    with pytest.raises(TableError, match=r"dropped_id.*int64.*string"):
        check_table(table, DuplicateReport.SCHEMA)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_empty_table_round_trips_through_parquet(tmp_path: Path, name: str) -> None:
    """Parquet renames list elements; `conform` restores them."""
    write_table(tmp_path / "t.parquet", TABLES[name].empty_table())
    assert conform(pq.read_table(tmp_path / "t.parquet"), TABLES[name]).schema.equals(TABLES[name])


def test_conform_orders_columns_and_drops_others() -> None:
    """A worker's extra columns are not passed on."""
    table = table_from_rows([DUPLICATE], DuplicateReport.SCHEMA)
    other = table.select(table.schema.names[::-1]).append_column("extra", pa.array([1]))
    assert conform(other, DuplicateReport.SCHEMA).equals(table)


def test_conform_refuses_a_table_without_a_required_column() -> None:
    """A missing column is never invented."""
    with pytest.raises(TableError, match="kind"):
        conform(table_from_rows([DUPLICATE], DuplicateReport.SCHEMA).drop_columns(["kind"]), DuplicateReport.SCHEMA)


def test_conform_never_quotes_a_value() -> None:
    """pyarrow's message quotes it, and Dagster stores an error with its causes."""
    table = table_from_rows([DUPLICATE], DuplicateReport.SCHEMA).set_column(3, "similarity", pa.array([MARKER]))
    with pytest.raises(TableError) as caught:
        conform(table, DuplicateReport.SCHEMA)
    assert MARKER not in "".join(traceback.format_exception(caught.value))


def test_conform_refuses_a_missing_required_value() -> None:
    """Even if types and names match."""
    table = table_from_rows([DUPLICATE], DuplicateReport.SCHEMA)
    without = pa.table({n: pa.array([None], f.type) if n == "kind" else table.column(n) for n, f in _fields()})
    with pytest.raises(TableError, match="kind lacks a value in 1 rows"):
        conform(without, DuplicateReport.SCHEMA)


def _fields() -> list[tuple[str, pa.Field]]:
    return [(field.name, field) for field in DuplicateReport.SCHEMA]


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_column_has_a_description(name: str) -> None:
    """People read the column schema in the Dagster UI."""
    assert [f.name for f in TABLES[name] if not (f.metadata or {}).get(b"description")] == []


@pytest.mark.parametrize("name", sorted(TABLES))
def test_columns_with_text_are_not_shown(name: str) -> None:
    """Scrubbed text neither: no scrubber finds everything. Imported general data need not be public."""
    columns = {"text", "known_identifiers", "input", "output", "answer", "messages", "history", "flags"}
    assert columns & set(list_displayable_columns(TABLES[name])) == set()


def test_ids_are_shown() -> None:
    """Otherwise the sample would be useless."""
    assert list_displayable_columns(InstructionRow.SCHEMA)[:2] == ["example_id", "split"]


def test_table_from_an_earlier_version_is_read_with_nulls() -> None:
    """An updated installation reads earlier tables; a missing required column is still refused."""
    before = table_from_rows([REPORT], Report.SCHEMA).drop_columns(["written_on"])
    assert conform(before, Report.SCHEMA)["written_on"].to_pylist() == [None]
    with pytest.raises(TableError):
        conform(before.drop_columns(["fingerprint"]), Report.SCHEMA)


def test_record_round_trips_to_its_row() -> None:
    """Including lists and structures: hashed or stored values must not change."""
    row = table_from_rows([{**REPORT, "written_on": date(2026, 3, 1)}], Report.SCHEMA)
    (report,) = iter_records(Report, row)
    assert report.known_identifiers == (KnownIdentifier(kind="name", value=MARKER),)
    assert report.written_on == date(2026, 3, 1)
    assert table_from_records(Report, [report]).equals(row)


def test_record_repr_omits_report_text() -> None:
    """Errors, logs and failed assertions may print it; fields without a declaration are hidden too."""

    class Excerpt(Record):
        output: str

    (report,) = iter_records(Report, table_from_rows([REPORT], Report.SCHEMA))
    assert repr(report).startswith("Report(report_id='b/1', batch='b'")
    assert MARKER not in repr(report)
    assert repr(Excerpt(output=MARKER)) == "Excerpt()"


def test_single_record_is_refused_for_zero_or_two_rows() -> None:
    """A gate that took the first of two adapters might let the other one pass."""
    row = table_from_rows([REPORT], Report.SCHEMA)
    assert read_single_record(Report, row).report_id == "b/1"
    for table in (row.slice(0, 0), pa.concat_tables([row, row])):
        with pytest.raises(TableError, match=r"Report .*\b[02]\b"):
            read_single_record(Report, table)
