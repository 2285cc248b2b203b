"""HL7 version 2 as systems send it: escapes, repetitions, several messages a file, attachments, and what is no report."""

from pathlib import Path

import pytest

from fine_tune_assets.reports.facts import Finding, Found
from fine_tune_assets.reports.formats.hl7_v2 import is_hl7, read_hl7
from fine_tune_assets.reports.formats.registry import read_document
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError
from fine_tune_assets_tests.reports.making_files import REPORT, as_hl7, as_pdf, attached
from fine_tune_assets_tests.reports.test_formats import check_signs, read, reasons

HEADER = "MSH|^~\\&|LAB|Lakeside Clinic|EHR|HOSP|20260301||{kind}|1|P|2.5.1"
PID = "PID|1||4711^^^H^MR||DOE^JOHN^A"


def _read(content: bytes) -> list[Finding]:
    return list(read_hl7(content, lambda kind, document: read_document(kind, document, None)))


def message(*segments: str, kind: str = "ORU^R01") -> bytes:
    return "\r".join([HEADER.format(kind=kind), *segments, ""]).encode()


def only(content: bytes) -> Found:
    ((_, found),) = _read(content)
    assert isinstance(found, Found), found.detail
    return found


def refusals(content: bytes) -> list[Reason]:
    return [found.reason for _, found in _read(content) if isinstance(found, UnreadableError)]


def test_escapes_become_what_they_stand_for_and_a_lone_backslash_stays() -> None:
    """The library drops all that follows a lone backslash, and writes the field into the log."""
    value = r"Ca\T\P \F\ 5\10 mg\.br\next\.sp2\after \E\ 10\S\9 \X41\ \H\bold\N\ a~b"
    found = only(message(PID, f"OBX|1|TX|1^NOTE||{value}||||||F"))
    assert found.text.split("\n") == ["NOTE", "", r"Ca&P | 5\10 mg", "next", "", "after \\ 10^9 A bold a", "b"]


def test_results_are_a_line_each_with_unit_range_and_flag() -> None:
    """A value without its unit and range is no result."""
    found = only(
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
    assert found.text.split("\n") == [
        "Blood count", "Haemoglobin: 11.20 g/dL (12.0-16.0) L", "D-dimer: <0.5 mg/L", "Titre: 1:128", "Culture: E. coli",
        "Colour: yellow", "Taken: 2026-03-01", "Sample was haemolysed",
    ]  # fmt: skip


def test_lines_of_one_narrative_stay_together_under_their_heading() -> None:
    """Radiology sends a line a segment."""
    lines = ("GDT^Findings||No fracture.", "GDT^Findings||", "GDT^Findings||Left knee.", "IMP^Impression||Normal.")
    found = only(message(PID, *(f"OBX|{n}|TX|{line}||||||F" for n, line in enumerate(lines, start=1))))
    assert found.text == "Findings\n\nNo fracture.\n\nLeft knee.\n\nImpression\n\nNormal."


def test_a_file_of_many_messages_is_a_report_a_message_whatever_wraps_them() -> None:
    """Batch and file headers, MLLP frames and every kind of line end occur."""
    one = message(PID, "OBX|1|TX|1^N||First.||||||F").decode()
    two = message(PID.replace("4711", "4712"), "OBX|1|TX|1^N||Second.||||||F").decode().replace("\r", "\r\n")
    wrapped = f"FHS|^~\\&|x\rBHS|^~\\&|x\r\x0b{one}\x1c\r{two}BTS|2\rFTS|1\r"
    found = _read(wrapped.encode())
    assert [(number, f.facts.patient_id, f.text) for number, f in found if isinstance(f, Found)] == [
        (1, "4711", "N\n\nFirst."),
        (2, "4712", "N\n\nSecond."),
    ]


def test_two_patients_in_one_message_are_two_reports() -> None:
    """One patient's findings must never stand in another one's report."""
    found = _read(
        message(PID, "OBX|1|TX|1^N||First.||||||F", PID.replace("4711", "4712"), "OBX|1|TX|1^N||Second.||||||F")
    )
    assert [(f.facts.patient_id, f.text) for _, f in found if isinstance(f, Found)] == [
        ("4711", "N\n\nFirst."),
        ("4712", "N\n\nSecond."),
    ]


def test_a_line_break_within_a_field_is_text() -> None:
    """Some systems do not escape it; the rest of the sentence must not be lost."""
    found = only(message(PID, "OBX|1|TX|1^N||No bleed,\nno fracture 2.5 cm.||||||F"))
    assert "No bleed,\nno fracture 2.5 cm." in found.text


def test_an_attached_document_is_read_as_such() -> None:
    """Many systems send the report itself as PDF."""
    found = only(
        message(
            PID,
            "TXA|1|RPT||||||||||D-1|||||AU",
            f"OBX|1|ED|1^Report||^application^pdf^Base64^{attached(as_pdf(REPORT))}||||||F",
            kind="MDM^T02",
        )
    )
    check_signs(found.text)
    data = attached(as_pdf(REPORT))
    in_lines = "\\.br\\".join(data[start : start + 76] for start in range(0, len(data), 76))
    assert only(message(PID, f"OBX|1|ED|1^Report||^application^pdf^Base64^{in_lines}||||||F")).text == found.text
    assert ("id", "D-1") in {(i.kind, i.value) for i in found.facts.identifiers}
    assert REPORT.results[0].value in (found.evidence or "")


@pytest.mark.parametrize(
    ("segments", "kind", "reason"),
    [
        ([PID], "ADT^A01", Reason.UNSUPPORTED_FORMAT),
        ([PID, "OBR|1|||CT^CT of the head"], "ORU^R01", Reason.EMPTY),
        ([PID, "OBR|1|||CT^CT of the head", "OBX|1|TX|1^N||||||||F"], "ORU^R01", Reason.EMPTY),
        ([PID, "OBX|1|TX|1^N||Wrong.||||||W"], "ORU^R01", Reason.WITHDRAWN),
        ([PID, "OBX|1|NM|1^N||7||||||D"], "ORU^R01", Reason.WITHDRAWN),
        ([PID, "TXA|1|RPT|||||||||||||||||CA", "OBX|1|TX|1^N||x||||||F"], "MDM^T02", Reason.WITHDRAWN),
        ([PID, "OBX|1|TX|1^N||x||||||F"], "MDM^T11", Reason.WITHDRAWN),
        ([PID, "OBX|1|RP|1^Report||file^x||||||F"], "ORU^R01", Reason.UNSUPPORTED_FORMAT),
        ([PID, "OBX|1|ED|1^R||^image^png^Base64^AAAA||||||F"], "ORU^R01", Reason.UNSUPPORTED_FORMAT),
    ],
)
def test_what_is_no_report_is_refused_with_its_reason(segments: list[str], kind: str, reason: Reason) -> None:
    """A result that was taken back must not be learned."""
    assert refusals(message(*segments, kind=kind)) == [reason]


def test_messages_in_a_text_file_are_recognised(tmp_path: Path) -> None:
    """Exports are often called .txt: as plain text every patient would stand in it."""
    assert is_hl7(b"\xef\xbb\xbf\r\n\x0bMSH|^~\\&|")
    assert not is_hl7(b"MSH was normal.")
    (tmp_path / "export.txt").write_bytes(as_hl7(REPORT))
    (row,) = read(tmp_path).reports.to_pylist()
    assert row["report_id"] == "b1/export-1"
    assert "PID" not in row["text"]


def test_a_message_names_its_character_set() -> None:
    """Latin letters of old systems are not UTF-8."""
    latin = (
        message(PID, "OBX|1|TX|1^N||37 °C||||||F").decode().replace("|2.5.1", "|2.5.1||||||8859/1").encode("latin-1")
    )
    assert "37 °C" in only(latin).text
    with pytest.raises(UnreadableError) as caught:
        _read(message(PID, "OBX|1|TX|1^N||37 °C||||||F").decode().encode("latin-1"))
    assert caught.value.reason is Reason.INVALID_UTF8


def test_what_the_raw_line_says_is_compared(tmp_path: Path) -> None:
    """Escapes that mean nothing to a reader must not look like numbers that are lost."""
    (tmp_path / "a.hl7").write_bytes(message(PID, r"OBX|1|TX|1^N||Dose \C2842\5 mg \Z1\ \X35\ cm||||||F"))
    assert reasons(read(tmp_path)) == []
    assert only(message(PID, "OBX|1|NM|1^K||4.1|mmol/L|||||F")).evidence == "4.1 mmol/L ()"


def segment(name: str, **fields: str) -> str:
    """A segment with these fields: f3="x" is its third."""
    numbered = {int(key[1:]): value for key, value in fields.items()}
    return "|".join([name, *(numbered.get(number, "") for number in range(1, max(numbered) + 1))])


def test_other_people_and_ids_of_a_message_are_known() -> None:
    """All that Safe Harbor lists and a field states is removed for certain."""
    found = only(
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
    assert {(i.kind.value, i.value) for i in found.facts.identifiers} >= {
        ("id", "4711"), ("id", "999-12"), ("name", "JOHN A DOE"), ("name", "JOHN SMITH"), ("date", "1950-03-02"),
        ("address", "12 Harbour Lane"), ("address", "Apt 4"), ("address", "Westport"), ("address", "06880"),
        ("email", "doe@example.org"), ("phone", "555-0142"), ("name", "PETER MOORE"), ("id", "77"), ("id", "V-88"),
        ("date", "2026-02-27"), ("id", "P-1"), ("id", "F-2"), ("id", "ACC-9"), ("name", "ANN LEE"), ("id", "66"),
        ("name", "RUTH DOE"), ("phone", "555-0143"),
        ("facility", "Lakeside Clinic"),
    }  # fmt: skip
    assert found.facts.patient_id == "4711"
    assert found.facts.patient_name == "JOHN A DOE"
