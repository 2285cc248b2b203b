"""The date of a report: only what a format states unambiguously."""

from datetime import date
from pathlib import Path

import pytest

from fine_tune_assets.quantities.metadata_dates import read_day
from fine_tune_assets.reports.formats.hl7_v2 import read_hl7
from fine_tune_assets.reports.reader_messages import decode_report, encode_report
from fine_tune_assets.reports.report_metadata import ParsedReport
from fine_tune_assets_tests.reports.formats.fhir_bundles import PATIENT, observation, read_bundle, report
from fine_tune_assets_tests.reports.read_files import read
from fine_tune_assets_tests.reports.sample_files import REPORT, as_hl7


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("2026-03-01", date(2026, 3, 1)),
        ("2026-03-01T23:59:00+02:00", date(2026, 3, 1)),
        ("2026-03-01 08:15", date(2026, 3, 1)),
        ("2026-03", date(2026, 3, 1)),
        ("2026", date(2026, 1, 1)),
        ("20260301", date(2026, 3, 1)),
        ("202603011200", date(2026, 3, 1)),
        ("20260301120000.000+0100", date(2026, 3, 1)),
        ("03/04/2024", None),
        ("2026-02-30", None),
        ("0001-01-01", None),
        ("last spring", None),
        ("", None),
    ],
)
def test_only_unambiguous_days_are_read(written: str, day: date | None) -> None:
    """A guessed date would decide which copy is kept and what a model is tested on."""
    assert read_day(written) == day


def test_front_matter_report_date_takes_precedence_over_the_visit(tmp_path: Path) -> None:
    """A report on an old visit is a new report."""
    (tmp_path / "a.txt").write_text("---\nsubject_id: 1\nvisit_date: 2020-01-01\nreport_date: 2026-03-01\n---\nText.\n")
    (tmp_path / "b.txt").write_text("---\nsubject_id: 1\nvisit_date: [2021-05-06]\n---\nText.\n")
    (tmp_path / "c.txt").write_text("---\nsubject_id: 1\nbirth_date: 1950-05-06\n---\nText.\n")
    assert _days(tmp_path) == {"a": date(2026, 3, 1), "b": date(2021, 5, 6), "c": None}


def test_report_date_is_removed_from_the_text_like_any_date(tmp_path: Path) -> None:
    """It is an identifier of 45 CFR 164.514 just like the date of the visit."""
    (tmp_path / "a.txt").write_text("---\nsubject_id: 1\nreport_date: 2026-03-01\n---\nText.\n")
    (row,) = read(tmp_path).reports.to_pylist()
    assert {"kind": "date", "value": "2026-03-01"} in row["known_identifiers"]


def test_report_date_in_a_table_column_is_read_and_removed_from_the_text(tmp_path: Path) -> None:
    """`records.written_on` names the column."""
    records = "records:\n  subject_id: p\n  report_id: r\n  written_on: day\n  sections:\n    note: NOTE\n"
    (tmp_path / "batch.yaml").write_text(records)
    (tmp_path / "t.csv").write_text("r,p,day,note\nx,1,2026-03-01,Text\ny,1,,Text\n")
    assert _days(tmp_path) == {"x": date(2026, 3, 1), "y": None}
    rows = {row["report_id"].partition("/")[2]: row for row in read(tmp_path).reports.to_pylist()}
    assert {"kind": "date", "value": "2026-03-01"} in rows["x"]["known_identifiers"]


def test_table_without_the_named_column_is_rejected(tmp_path: Path) -> None:
    """A misspelled column would leave every report without a date."""
    (tmp_path / "batch.yaml").write_text("records:\n  subject_id: p\n  written_on: dya\n  sections:\n    note: NOTE\n")
    (tmp_path / "t.csv").write_text("p,day,note\n1,2026-03-01,Text\n")
    assert read(tmp_path).unreadable["reason"].to_pylist() == ["missing_column"]


def test_message_yields_the_date_of_writing_not_of_sending() -> None:
    """Archives are sent years later."""
    header = "MSH|^~\\&|LAB|Lakeside Clinic|EHR|HOSP|20260301||ORU^R01|1|P|2.5.1"
    order = "OBR|1|||CBC^Blood count|||20190203"
    message = "\r".join([header, "PID|1||4711^^^H^MR||DOE^JOHN^A", order, "OBX|1|TX|1^NOTE||Text||||||F", ""])
    ((_, found),) = read_hl7(message.encode(), lambda _kind, _content: pytest.fail("no attachment"))
    assert isinstance(found, ParsedReport)
    assert found.metadata.written_on == date(2019, 2, 3)


def test_fhir_resource_yields_the_date(tmp_path: Path) -> None:
    """`issued` is when a report became available; `effectiveDateTime` is what it is about."""
    about = {"result": [{"reference": "Observation/o7"}], "effectiveDateTime": "2020-01-01"}
    read_bundle(tmp_path, PATIENT, observation(7), report(issued="2026-03-01T10:00:00Z", **about))
    assert set(_days(tmp_path).values()) == {date(2026, 3, 1)}


def test_clinical_document_date_survives_the_worker_process(tmp_path: Path) -> None:
    """Documents are read in a separate process, which answers in JSON."""
    from fine_tune_assets.reports.formats.document_formats import read_document
    from fine_tune_assets_tests.reports.sample_files import as_ccda

    found = read_document("ccda", as_ccda(REPORT), None)
    assert found.metadata.written_on == date(2026, 3, 1)
    (tmp_path / "d.xml").write_bytes(as_ccda(REPORT))
    assert set(_days(tmp_path).values()) == {date(2026, 3, 1)}
    assert decode_report(encode_report(found)) == found


def test_sample_message_does_not_yield_the_birth_date() -> None:
    """The one date in every message says nothing about the report."""
    ((_, found),) = read_hl7(as_hl7(REPORT), lambda _kind, _content: pytest.fail("no attachment"))
    assert isinstance(found, ParsedReport)
    assert found.metadata.written_on != read_day(REPORT.birth_date)


def _days(folder: Path) -> dict[str, date | None]:
    return {row["report_id"].partition("/")[2]: row["written_on"] for row in read(folder).reports.to_pylist()}
