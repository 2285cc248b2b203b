"""Tables fit their schemas or are refused, and what holds text is never shown."""

import traceback
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.errors import TableError
from fine_tune_assets.core.files import write_table
from fine_tune_assets.tables.catalogue import TABLES
from fine_tune_assets.tables.columns_in_common import KnownIdentifier
from fine_tune_assets.tables.dedup import DuplicateReport
from fine_tune_assets.tables.instructions import InstructionRow
from fine_tune_assets.tables.records import (
    Record,
    check_table,
    conform,
    only_record,
    records_of,
    shown_columns,
    table_from,
    table_of,
)
from fine_tune_assets.tables.reports import Report, UnreadableReport

MARKER = "Zyxwvutquark"
DUPLICATE = {"dropped_id": "b/2", "kept_id": "b/1", "kind": "exact", "similarity": 1.0, "reason": "longer"}
UNREADABLE = {"batch": "b", "origin_file": "f", "record": None, "reason": "empty", "detail": "", "size_bytes": 0}
REPORT = {
    "report_id": "b/1",
    "batch": "b",
    "source": "s",
    "patient_key": "p",
    "text": MARKER,
    "known_identifiers": [{"kind": "name", "value": MARKER}],
    "origin_file": "f",
    "fingerprint": "x",
}


def test_a_value_that_may_be_absent_may_be_absent() -> None:
    """A whole file has no row number: null, not 0."""
    assert table_of([UNREADABLE], UnreadableReport.SCHEMA).to_pylist() == [UNREADABLE]


def test_a_value_that_must_be_there_is_asked_for_by_its_column() -> None:
    """Counts and columns only: the row's text stays out of the message."""
    with pytest.raises(TableError, match="Column patient_key lacks a value in 1 rows") as caught:
        table_of([{**REPORT, "patient_key": None}], Report.SCHEMA)
    assert MARKER not in str(caught.value)


def test_other_columns_are_refused_by_the_check() -> None:
    """Names in another order are another table for whoever reads by position."""
    table = table_of([DUPLICATE], DuplicateReport.SCHEMA)
    for other in (
        table.select(table.schema.names[::-1]),
        table.drop_columns(["kind"]),
        table.append_column("x", [[1]]),
    ):
        with pytest.raises(TableError, match="has columns"):
            check_table(other, DuplicateReport.SCHEMA)


def test_another_type_is_refused_by_the_check() -> None:
    """An id that became a number is found where it happened."""
    table = table_of([DUPLICATE], DuplicateReport.SCHEMA).set_column(0, "dropped_id", pa.array([2]))
    with pytest.raises(TableError, match="Column dropped_id is int64 instead of string"):
        check_table(table, DuplicateReport.SCHEMA)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_an_empty_table_comes_back_from_parquet_as_it_was(tmp_path: Path, name: str) -> None:
    """Parquet names the elements of a list otherwise: `conform` brings them back."""
    write_table(tmp_path / "t.parquet", TABLES[name].empty_table())
    assert conform(pq.read_table(tmp_path / "t.parquet"), TABLES[name]).schema.equals(TABLES[name])


def test_conform_orders_columns_and_leaves_others_out() -> None:
    """What a worker adds for itself does not travel on."""
    table = table_of([DUPLICATE], DuplicateReport.SCHEMA)
    other = table.select(table.schema.names[::-1]).append_column("extra", pa.array([1]))
    assert conform(other, DuplicateReport.SCHEMA).equals(table)


def test_conform_refuses_a_table_that_lacks_a_column() -> None:
    """A column is never made up."""
    with pytest.raises(TableError, match="has columns"):
        conform(table_of([DUPLICATE], DuplicateReport.SCHEMA).drop_columns(["kind"]), DuplicateReport.SCHEMA)


def test_conform_never_quotes_a_value_that_it_can_not_convert() -> None:
    """pyarrow's own message quotes it, and Dagster keeps an error with all that it came from."""
    table = table_of([DUPLICATE], DuplicateReport.SCHEMA).set_column(3, "similarity", pa.array([MARKER]))
    with pytest.raises(TableError) as caught:
        conform(table, DuplicateReport.SCHEMA)
    assert MARKER not in "".join(traceback.format_exception(caught.value))


def test_conform_refuses_an_absent_value_where_none_may_be() -> None:
    """Also when types and names are right."""
    table = table_of([DUPLICATE], DuplicateReport.SCHEMA)
    without = pa.table({n: pa.array([None], f.type) if n == "kind" else table.column(n) for n, f in _fields()})
    with pytest.raises(TableError, match="kind"):
        conform(without, DuplicateReport.SCHEMA)


def _fields() -> list[tuple[str, pa.Field]]:
    return [(field.name, field) for field in DuplicateReport.SCHEMA]


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_column_says_what_it_means(name: str) -> None:
    """The column schema in the Dagster UI is read by people who did not write it."""
    assert [f.name for f in TABLES[name] if not (f.metadata or {}).get(b"meaning")] == []


@pytest.mark.parametrize("name", sorted(set(TABLES) - {"general_examples"}))
def test_no_column_that_holds_text_is_shown(name: str) -> None:
    """Scrubbed text too: no scrubber finds everything. General data is public."""
    columns = {"text", "known_identifiers", "input", "output", "answer", "messages", "flags"}
    assert columns & set(shown_columns(TABLES[name])) == set()


def test_what_identifies_a_row_is_shown() -> None:
    """A sample of nothing helps nobody."""
    assert shown_columns(InstructionRow.SCHEMA)[:2] == ["example_id", "split"]


def test_a_table_of_before_a_column_is_read_with_the_value_absent() -> None:
    """An updated installation reads what the version before it stored; a column that must be there still refuses."""
    before = table_of([REPORT], Report.SCHEMA).drop_columns(["written_on"])
    assert conform(before, Report.SCHEMA)["written_on"].to_pylist() == [None]
    with pytest.raises(TableError):
        conform(before.drop_columns(["fingerprint"]), Report.SCHEMA)


def test_a_record_has_the_values_of_its_row_and_makes_the_same_row_again() -> None:
    """Lists and structures too: what is hashed or stored must not change on the way."""
    row = table_of([{**REPORT, "written_on": date(2026, 3, 1)}], Report.SCHEMA)
    (report,) = records_of(Report, row)
    assert report.known_identifiers == (KnownIdentifier(kind="name", value=MARKER),)
    assert report.written_on == date(2026, 3, 1)
    assert table_from(Report, [report]).equals(row)


def test_a_record_shows_no_text_of_a_report() -> None:
    """An error, a log line or a failed assertion may print it; fields that say nothing of themselves are hidden too."""

    class Excerpt(Record):
        output: str

    (report,) = records_of(Report, table_of([REPORT], Report.SCHEMA))
    assert repr(report).startswith("Report(report_id='b/1', batch='b'")
    assert MARKER not in repr(report)
    assert repr(Excerpt(output=MARKER)) == "Excerpt()"


def test_the_only_row_of_a_table_is_neither_guessed_from_two_nor_made_up_from_none() -> None:
    """A gate that took the first of two adapters might let the other one through."""
    row = table_of([REPORT], Report.SCHEMA)
    assert only_record(Report, row).report_id == "b/1"
    for table in (row.slice(0, 0), pa.concat_tables([row, row])):
        with pytest.raises(TableError, match="rows instead of 1"):
            only_record(Report, table)
