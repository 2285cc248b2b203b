"""HL7 v2 as real systems send it: escapes, repetitions, several messages per file, attachments and invalid input."""

from pathlib import Path

import pytest

from fine_tune_assets.reports.formats.document_formats import read_document
from fine_tune_assets.reports.formats.hl7_v2 import is_hl7, read_hl7
from fine_tune_assets.reports.report_metadata import ParsedRecord, ParsedReport
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason
from fine_tune_assets_tests.reports.read_files import check_signs, read, reasons
from fine_tune_assets_tests.reports.sample_files import REPORT, as_hl7, as_pdf, attached

HEADER = "MSH|^~\\&|LAB|Lakeside Clinic|EHR|HOSP|20260301||{kind}|1|P|2.5.1"
PID = "PID|1||4711^^^H^MR||DOE^JOHN^A"


def _read(content: bytes) -> list[ParsedRecord]:
    return list(read_hl7(content, lambda kind, document: read_document(kind, document, None)))


def message(*segments: str, kind: str = "ORU^R01") -> bytes:
    return "\r".join([HEADER.format(kind=kind), *segments, ""]).encode()


def only(content: bytes) -> ParsedReport:
    ((_, outcome),) = _read(content)
    assert isinstance(outcome, ParsedReport), outcome.detail
    return outcome


def error_reasons(content: bytes) -> list[UnreadableReason]:
    return [outcome.reason for _, outcome in _read(content) if isinstance(outcome, UnreadableError)]


def test_escapes_are_resolved_and_a_lone_backslash_stays() -> None:
    """The library drops everything after a lone backslash and logs the field."""
    value = r"Ca\T\P \F\ 5\10 mg\.br\next\.sp2\after \E\ 10\S\9 \X41\ \H\bold\N\ a~b"
    report = only(message(PID, f"OBX|1|TX|1^NOTE||{value}||||||F"))
    assert report.text.split("\n") == ["NOTE", "", r"Ca&P | 5\10 mg", "next", "", "after \\ 10^9 A bold a", "b"]


def test_each_result_is_a_line_with_unit_range_and_flag() -> None:
    """A value without unit and range is incomplete."""
    report = only(
        message(
            PID,
            "OBR|1|||CBC^Blood count",
            "OBX|1|NM|718-7^Haemoglobin^LN||11.20|g/dL^gram per decilitre|12.0-16.0|L|||F",
            "OBX|2|SN|1^D-dimer||<^0.5|mg/L||N|||F",
            "OBX|3|SN|2^Titre||^1^:^128||||||F",
            "OBX|4|CE|3^Culture||112283007^E. coli^SCT||||||F",
            "OBX|5|ST|4^Colour||yellow||||||F",
            "OBX|6|DT|5^Taken||20260301||||||F",
            "NTE|1||Sample was haemolysed",
        )
    )
    assert report.text.split("\n") == [
        "Blood count", "Haemoglobin: 11.20 g/dL (12.0-16.0) L", "D-dimer: <0.5 mg/L", "Titre: 1:128", "Culture: E. coli",
        "Colour: yellow", "Taken: 2026-03-01", "Sample was haemolysed",
    ]  # fmt: skip


def test_narrative_lines_stay_together_under_their_heading() -> None:
    """Radiology systems send one line per segment."""
    lines = ("GDT^Findings||No fracture.", "GDT^Findings||", "GDT^Findings||Left knee.", "IMP^Impression||Normal.")
    report = only(message(PID, *(f"OBX|{n}|TX|{line}||||||F" for n, line in enumerate(lines, start=1))))
    assert report.text == "Findings\n\nNo fracture.\n\nLeft knee.\n\nImpression\n\nNormal."


def test_each_message_of_a_file_is_a_report_regardless_of_envelopes() -> None:
    """Batch and file headers, MLLP frames and all kinds of line ends occur."""
    one = message(PID, "OBX|1|TX|1^N||First.||||||F").decode()
    two = message(PID.replace("4711", "4712"), "OBX|1|TX|1^N||Second.||||||F").decode().replace("\r", "\r\n")
    wrapped = f"FHS|^~\\&|x\rBHS|^~\\&|x\r\x0b{one}\x1c\r{two}BTS|2\rFTS|1\r"
    records = _read(wrapped.encode())
    assert [(number, f.metadata.subject_id, f.text) for number, f in records if isinstance(f, ParsedReport)] == [
        (1, "4711", "N\n\nFirst."),
        (2, "4712", "N\n\nSecond."),
    ]


def test_two_patients_in_one_message_are_two_reports() -> None:
    """One patient's findings must never appear in another patient's report."""
    records = _read(
        message(PID, "OBX|1|TX|1^N||First.||||||F", PID.replace("4711", "4712"), "OBX|1|TX|1^N||Second.||||||F")
    )
    assert [(f.metadata.subject_id, f.text) for _, f in records if isinstance(f, ParsedReport)] == [
        ("4711", "N\n\nFirst."),
        ("4712", "N\n\nSecond."),
    ]


def test_an_unescaped_line_break_in_a_field_is_text() -> None:
    """Some systems do not escape it; the rest of the sentence must not be lost."""
    report = only(message(PID, "OBX|1|TX|1^N||No bleed,\nno fracture 2.5 cm.||||||F"))
    assert "No bleed,\nno fracture 2.5 cm." in report.text


def test_an_attached_document_is_read_by_its_format() -> None:
    """Many systems send the report as PDF."""
    report = only(
        message(
            PID,
            "TXA|1|RPT||||||||||D-1|||||AU",
            f"OBX|1|ED|1^Report||^application^pdf^Base64^{attached(as_pdf(REPORT))}||||||F",
            kind="MDM^T02",
        )
    )
    check_signs(report.text)
    data = attached(as_pdf(REPORT))
    in_lines = "\\.br\\".join(data[start : start + 76] for start in range(0, len(data), 76))
    assert only(message(PID, f"OBX|1|ED|1^Report||^application^pdf^Base64^{in_lines}||||||F")).text == report.text
    assert ("id", "D-1") in {(i.kind, i.value) for i in report.metadata.identifiers}
    assert REPORT.results[0].value in (report.reference_text or "")


@pytest.mark.parametrize(
    ("segments", "kind", "reason"),
    [
        ([PID], "ADT^A01", UnreadableReason.UNSUPPORTED_FORMAT),
        ([PID, "OBR|1|||CT^CT of the head"], "ORU^R01", UnreadableReason.EMPTY),
        ([PID, "OBR|1|||CT^CT of the head", "OBX|1|TX|1^N||||||||F"], "ORU^R01", UnreadableReason.EMPTY),
        ([PID, "OBX|1|TX|1^N||Wrong.||||||W"], "ORU^R01", UnreadableReason.WITHDRAWN),
        ([PID, "OBX|1|NM|1^N||7||||||D"], "ORU^R01", UnreadableReason.WITHDRAWN),
        ([PID, "TXA|1|RPT|||||||||||||||||CA", "OBX|1|TX|1^N||x||||||F"], "MDM^T02", UnreadableReason.WITHDRAWN),
        ([PID, "OBX|1|TX|1^N||x||||||F"], "MDM^T11", UnreadableReason.WITHDRAWN),
        ([PID, "OBX|1|RP|1^Report||file^x||||||F"], "ORU^R01", UnreadableReason.UNSUPPORTED_FORMAT),
        ([PID, "OBX|1|ED|1^R||^image^png^Base64^AAAA||||||F"], "ORU^R01", UnreadableReason.UNSUPPORTED_FORMAT),
    ],
)
def test_a_message_without_a_report_is_unreadable_with_its_reason(
    segments: list[str], kind: str, reason: UnreadableReason
) -> None:
    """A withdrawn result must not reach the training data."""
    assert error_reasons(message(*segments, kind=kind)) == [reason]


def test_messages_in_a_text_file_are_detected(tmp_path: Path) -> None:
    """Exports are often named .txt; read as plain text, one report would contain every patient."""
    assert is_hl7(b"\xef\xbb\xbf\r\n\x0bMSH|^~\\&|")
    assert not is_hl7(b"MSH was normal.")
    (tmp_path / "export.txt").write_bytes(as_hl7(REPORT))
    (row,) = read(tmp_path).reports.to_pylist()
    assert row["report_id"] == "b1/export-1"
    assert "PID" not in row["text"]


def test_a_message_is_decoded_with_its_declared_character_set() -> None:
    """Old systems send Latin-1."""
    latin = (
        message(PID, "OBX|1|TX|1^N||37 °C||||||F").decode().replace("|2.5.1", "|2.5.1||||||8859/1").encode("latin-1")
    )
    assert "37 °C" in only(latin).text
    with pytest.raises(UnreadableError) as caught:
        _read(message(PID, "OBX|1|TX|1^N||37 °C||||||F").decode().encode("latin-1"))
    assert caught.value.reason is UnreadableReason.INVALID_UTF8


def test_the_reference_text_comes_from_the_raw_line(tmp_path: Path) -> None:
    """Escapes must not look like lost numbers."""
    (tmp_path / "a.hl7").write_bytes(message(PID, r"OBX|1|TX|1^N||Dose \C2842\5 mg \Z1\ \X35\ cm||||||F"))
    assert reasons(read(tmp_path)) == []
    assert only(message(PID, "OBX|1|NM|1^K||4.1|mmol/L|||||F")).reference_text == "4.1 mmol/L ()"


def segment(name: str, **fields: str) -> str:
    """Build a segment; f3="x" sets its third field."""
    numbered = {int(key[1:]): value for key, value in fields.items()}
    return "|".join([name, *(numbered.get(number, "") for number in range(1, max(numbered) + 1))])


def test_all_people_and_ids_of_a_message_are_extracted() -> None:
    """Every Safe Harbor identifier that a field states is removed for certain."""
    report = only(
        message(
            segment(
                "PID",
                f3="4711^^^H^MR~999-12^^^S^SS",
                f5="DOE^JOHN^A^JR~SMITH^JOHN",
                f7="19500302",
                f11="12 Harbour Lane^Apt 4^Westport^CT^06880",
                f13="^PRN^PH^doe@example.org^^555^0142",
            ),
            segment("NK1", f2="DOE^RUTH", f5="555-0143"),
            segment("PV1", f3="W1^^^Lakeside Clinic", f7="77^MOORE^PETER", f19="V-88", f44="20260227"),
            segment("OBR", f2="P-1", f3="F-2", f7="20260301", f18="ACC-9", f32="66&LEE&ANN"),
            "OBX|1|TX|1^N||x||||||F",
        )
    )
    assert {(i.kind.value, i.value) for i in report.metadata.identifiers} >= {
        ("id", "4711"), ("id", "999-12"), ("name", "JOHN A DOE"), ("name", "JOHN SMITH"), ("date", "1950-03-02"),
        ("address", "12 Harbour Lane"), ("address", "Apt 4"), ("address", "Westport"), ("address", "06880"),
        ("email", "doe@example.org"), ("phone", "555-0142"), ("name", "PETER MOORE"), ("id", "77"), ("id", "V-88"),
        ("date", "2026-02-27"), ("id", "P-1"), ("id", "F-2"), ("id", "ACC-9"), ("name", "ANN LEE"), ("id", "66"),
        ("name", "RUTH DOE"), ("phone", "555-0143"),
        ("facility", "Lakeside Clinic"),
    }  # fmt: skip
    assert report.metadata.subject_id == "4711"
    assert report.metadata.subject_name == "JOHN A DOE"
