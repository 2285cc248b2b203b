"""One report in every format: the same numbers, units, sides and negations come out, and the people it names are known."""

import io
import re
from pathlib import Path

import docx
import pypdf
import pypdfium2
import pytest

from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import BatchReading, read_batch
from fine_tune_assets.reports.facts import Found, distinct
from fine_tune_assets.reports.fidelity import differences
from fine_tune_assets.reports.formats.registry import read_document
from fine_tune_assets.reports.identifiers import Identifier, Kind
from fine_tune_assets.reports.isolation import IsolatedDocuments
from fine_tune_assets.reports.ocr import OcrProgram, find_ocr, text_of_words
from fine_tune_assets.reports.text_cleanup import plain_symbols, tidy
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError
from fine_tune_assets_tests.reports.making_files import (
    COLUMNS,
    REPORT,
    WITH_PATIENT,
    WITH_SIDECAR,
    as_awkward_docx,
    as_csv,
    as_docx,
    as_form,
    as_jsonl,
    as_pdf,
    as_scan,
    as_text,
    as_zip,
    front_matter,
    plain,
)

SECRET = b"k" * 32
FILES = Path(__file__).parent / "files"
MARKER = "Zyxwvutquark"


def read(folder: Path) -> BatchReading:
    reading = read_batch(folder, "b1", SECRET, ReadLimits())
    assert reading.accounting.is_balanced
    return reading


def reasons(reading: BatchReading) -> list[tuple[str, int | None, str]]:
    return [(r["origin_file"], r["record"], r["reason"]) for r in reading.unreadable.to_pylist()]


def all_in_one_line(text: str) -> str:
    return " ".join(re.sub(r"[|:]", " ", text).split())


def check_signs(text: str) -> None:
    found = all_in_one_line(text)
    for sign in REPORT.signs:
        assert all_in_one_line(sign) in found
    assert differences(" ".join(sign for _, sign in REPORT.sections), text, is_all=False) == {}


@pytest.mark.parametrize("ending", [*WITH_PATIENT, *WITH_SIDECAR])
def test_every_format_holds_the_same_report(tmp_path: Path, ending: str) -> None:
    """A number, a side or a negation that is lost on the way is worse than a report that is not read."""
    (tmp_path / f"visit.{ending}").write_bytes({**WITH_PATIENT, **WITH_SIDECAR}[ending](REPORT))
    if ending in WITH_SIDECAR:
        (tmp_path / "visit.yaml").write_text(front_matter(REPORT))
    reading = read(tmp_path)
    assert reasons(reading) == []
    (row,) = reading.reports.to_pylist()
    check_signs(row["text"])
    assert {("id", REPORT.patient_id)} <= {(i["kind"], i["value"]) for i in row["known_identifiers"]}
    assert "99" not in row["text"], "a script is no text"


@pytest.mark.parametrize("ending", ["hl7", "json", "ndjson", "xml"])
def test_whom_a_format_names_itself_is_known(tmp_path: Path, ending: str) -> None:
    """These values are removed for certain; a name that only stands in the text is found by a guess."""
    (tmp_path / f"visit.{ending}").write_bytes(WITH_PATIENT[ending](REPORT))
    (row,) = read(tmp_path).reports.to_pylist()
    stated = {(i["kind"], i["value"].title() if i["kind"] == "name" else i["value"]) for i in row["known_identifiers"]}
    assert stated >= REPORT.stated


@pytest.mark.parametrize(("ending", "write"), [("csv", as_csv), ("jsonl", as_jsonl)])
def test_tables_hold_it_too(tmp_path: Path, ending: str, write: type(as_csv)) -> None:
    """The columns are named by batch.yaml."""
    (tmp_path / "batch.yaml").write_text(COLUMNS)
    (tmp_path / f"visits.{ending}").write_bytes(write(REPORT))
    (row,) = read(tmp_path).reports.to_pylist()
    check_signs(row["text"])


def test_one_patient_is_the_same_in_every_format(tmp_path: Path) -> None:
    """HL7 from one system and FHIR from another: in two splits the patient would be trained on and tested with."""
    for ending, write in WITH_PATIENT.items():
        (tmp_path / f"from-{ending}.{ending}").write_bytes(write(REPORT))
    assert len(set(read(tmp_path).reports.column("patient_key").to_pylist())) == 1


def test_a_docx_keeps_what_its_library_leaves_out() -> None:
    """Content controls, tracked insertions, text boxes, headers and footers: hospital templates are made of them."""
    text = read_document("docx", as_awkward_docx(REPORT), None).text
    for kept in (
        "Controlled 41 mg",
        "Inserted 42 mg",
        "Boxed 44 mg",
        "Header line 31",
        "Footer line 32",
        "3-4 h",
        "37 ±0.2",
        "x=45",
    ):
        assert kept in text
    assert "Deleted" not in text
    assert "5.1 x 10^9/L" in text
    check_signs(text)


@pytest.mark.parametrize(
    "path", sorted(p for p in FILES.iterdir() if p.suffix in {".rtf", ".docx", ".html", ".pdf"}), ids=lambda p: p.name
)
def test_what_other_programs_write_is_read_unchanged(tmp_path: Path, path: Path) -> None:
    """LibreOffice and pandoc wrote these: a writer of our own shares our misunderstandings."""
    (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / path.with_suffix(".yaml").name).write_text(front_matter(REPORT))
    reading = read(tmp_path)
    assert reasons(reading) == []
    (text,) = reading.reports.column("text").to_pylist()
    check_signs(text)
    assert "10^9/L" in text
    assert "37 ±0.2" in text.replace("37±", "37 ±")
    assert "Inserted 42 mg" in text
    assert "3-4 h" in text


def test_headers_footnotes_and_text_boxes_of_rtf_are_kept() -> None:
    """The library leaves them out: there stand the patient's name and the addendum."""
    rtf = (
        rb"{\rtf1\ansi\ansicpg1252{\header Head 71\par}{\footer Foot 72\par}Body 73 mg{\footnote Note 74}\par "
        rb"{\shp{\*\shpinst\shpleft1{\sp{\sn shapeType}{\sv 202}}{\shptxt Box 75\par}}{\shprslt Box 75\par}}"
        rb"5 x 10{\super 9}/L, \u177?2 at 37\'b0C \{x\}\par}"
    )
    found = read_document("rtf", rtf, None)
    for kept in ("Head 71", "Foot 72", "Body 73 mg", "Note 74", "Box 75", "10^9/L", "±2", "37°C"):
        assert kept in found.text
    assert found.text.count("Box 75") == 1
    assert differences(found.evidence or "", found.text, found.is_all_evidence) == {}


def test_signs_of_the_font_symbol_are_what_people_see() -> None:
    """Read as Latin letters, "INR ≥ 3" would be "INR ³ 3"."""
    fonts = rb"{\fonttbl{\f0\fswiss\fcharset0 Arial;}{\f3\froman\fcharset2\fprq2 Symbol;}}"
    rtf = rb"{\rtf1\ansi" + fonts + rb"\f0 INR {\f3\fs20\'b3} 3 \'b3 \u-3919?2}"
    found = read_document("rtf", rtf, None)
    assert found.text == "INR ≥ 3 ³ ±2"
    assert differences(found.evidence or "", found.text, found.is_all_evidence) == {}
    assert plain_symbols("\uf0a33 \uf06d \uf035 \uf07f") == "≤3 μ 5 \uf07f"


def test_a_page_keeps_its_tables_lists_and_lines() -> None:
    """A result and its value must stay together."""
    page = (
        b"<html><body><h1>Labs</h1><table><tr><th>Test<th>Value<tr><td>Na<td>140<br>mmol/L</table>"
        b"<ul><li>no fever<li>BP&nbsp;120/80"
        b"</ul><pre>K   4.1\nCl  99</pre>5 &lt; 7<sup>2</sup> <del>8 mg</del></body></html>"
    )
    found = read_document("html", page, None)
    assert found.text.split("\n") == [
        "Labs", "", "Test | Value", "Na | 140 mmol/L", "", "- no fever", "- BP 120/80", "", "K   4.1", "Cl  99", "5 < 7^2",
    ]  # fmt: skip
    assert differences(found.evidence or "", found.text, found.is_all_evidence) == {}


@pytest.mark.parametrize(("declared", "encoding"), [("windows-1252", "cp1252"), ("utf-8", "utf-8")])
def test_a_page_is_read_in_the_character_set_that_it_names(declared: str, encoding: str) -> None:
    """± and ° are what gets lost."""
    page = f'<html><head><meta charset="{declared}"></head><body>37.2 °C ± 0.1</body></html>'
    assert read_document("html", page.encode(encoding), None).text == "37.2 °C ± 0.1"


def read_without_ocr(kind: str, content: bytes) -> Found:
    """As on a machine without tesseract."""
    return read_document(kind, content, None)


def test_without_an_ocr_program_a_scan_is_quarantined_and_says_so(tmp_path: Path) -> None:
    """A page that is silently empty would be a report with half of its findings."""
    (tmp_path / "scan.pdf").write_bytes(as_scan(REPORT))
    (tmp_path / "scan.yaml").write_text(front_matter(REPORT))
    reading = read_batch(tmp_path, "b1", SECRET, ReadLimits(), read_without_ocr)
    assert reasons(reading) == [("scan.pdf", None, "no_text_layer")]
    assert "Install tesseract" in reading.unreadable.column("detail").to_pylist()[0]


@pytest.fixture
def ocr() -> OcrProgram:
    found = find_ocr()
    if found is None:
        pytest.skip("tesseract is not installed: apt-get install tesseract-ocr")
    return found


def test_a_scan_is_read_by_the_ocr_program(ocr: OcrProgram) -> None:
    """The picture of the page says what the page says."""
    check_signs(read_document("pdf", as_scan(REPORT), ocr).text)


def test_an_ocr_program_that_fails_costs_one_file() -> None:
    """It is another program, and may be missing a language, or broken."""
    with pytest.raises(UnreadableError) as caught:
        read_document("pdf", as_scan(REPORT), OcrProgram("/bin/false"))
    assert caught.value.reason is Reason.READER_FAILED


WORDS = (
    "level\tblock_num\tpar_num\tline_num\tconf\ttext\n5\t1\t1\t1\t96\tDose\n"
    "5\t1\t1\t1\t{conf}\t{text}\n5\t1\t2\t1\t20\tsmudge\n"
)


def test_a_number_that_the_ocr_program_is_not_sure_of_closes_the_gate() -> None:
    """3 and 8 look alike on a fax."""
    assert text_of_words(WORDS.format(conf=95, text='"8')) == 'Dose "8\n\nsmudge'
    with pytest.raises(UnreadableError) as caught:
        text_of_words(WORDS.format(conf=41, text="8"))
    assert caught.value.reason is Reason.UNSURE_SCAN


def test_a_pdf_with_a_password_is_quarantined_and_one_with_rights_only_is_read() -> None:
    """Many systems forbid editing, which hides nothing."""
    for user, owner in (("secret", "secret"), ("", "secret")):
        writer = pypdf.PdfWriter(clone_from=io.BytesIO(as_pdf(REPORT)))
        writer.encrypt(user, owner, algorithm="AES-256")
        buffer = io.BytesIO()
        writer.write(buffer)
        if user:
            with pytest.raises(UnreadableError) as caught:
                read_document("pdf", buffer.getvalue(), None)
            assert caught.value.reason is Reason.ENCRYPTED
        else:
            check_signs(read_document("pdf", buffer.getvalue(), None).text)


def test_what_was_typed_into_a_form_is_text() -> None:
    """It lies beside the page, and most readers leave it out."""
    text = read_document("pdf", as_form("Dose 17 mg"), None).text
    assert text.split("\n") == ["Printed 16 mg", "Dose 17 mg"]


def test_a_document_whose_text_is_a_picture_is_quarantined() -> None:
    """A letterhead and a scan would be a report that says nothing."""
    picture = io.BytesIO()
    pypdfium2.PdfDocument(as_pdf(REPORT))[0].render(scale=0.2).to_pil().save(picture, format="PNG")
    document = docx.Document()
    document.add_paragraph("Lakeside Imaging Center")
    document.add_picture(picture)
    buffer = io.BytesIO()
    document.save(buffer)
    with pytest.raises(UnreadableError) as caught:
        read_document("docx", buffer.getvalue(), None)
    assert caught.value.reason is Reason.NO_TEXT_LAYER


def test_typographic_letters_and_hyphens_become_plain_and_raised_digits_stay() -> None:
    """A name that is set with a joined "fi" would not be found; 10⁹ must never become 109."""
    assert (
        tidy("O\ufb03ce of Mrs\u00a0Smith\u2011Ha\u00adll, 10⁹/L m²\u200b \x0c end ")
        == "Office of Mrs Smith-Hall, 10⁹/L m²\n end"
    )


@pytest.fixture
def broken() -> dict[str, bytes]:
    docx, pdf = as_docx(REPORT), as_pdf(REPORT)
    return {
        "a.pdf": pdf[: len(pdf) // 3],
        "b.docx": docx[: len(docx) // 2],
        "c.docx": as_zip({"word/document.xml": b"<x/>"}),
        "d.docx": b"\xd0\xcf\x11\xe0" + b"\x00" * 600,
        "e.rtf": b"{\\rtf1 never closed",
        "f.rtf": b"plain text",
        "g.xml": b"<ClinicalDocument xmlns='urn:hl7-org:v3'>",
        "h.xml": b"<note>x</note>",
        "i.xml": b'<!DOCTYPE x [<!ENTITY a "b">]><ClinicalDocument xmlns="urn:hl7-org:v3">&a;</ClinicalDocument>',
        "j.html": b"\x00\x01\x02\x03" * 50,
        "k.json": b'{"resourceType": "Patient"',
        "l.json": b'{"a": 1}',
        "m.hl7": b"not a message",
        "n.hl7": b"MSH|^~\\&|A|B|C|D|20260101||ADT^A01|1|P|2.5\rPID|1||7^^^H^MR||DOE^JOHN\r",
        "o.zip": b"PK\x03\x04 no archive",
        "p.ndjson": b"{}\n",
    }


def test_a_broken_file_of_each_format_is_quarantined_with_its_reason(tmp_path: Path, broken: dict[str, bytes]) -> None:
    """None stops the others, and each says what is wrong."""
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).with_suffix(".yaml").write_text("patient_id: p\n")
    (tmp_path / "good.txt").write_bytes(as_text(REPORT))
    reading = read(tmp_path)
    assert reading.reports.column("origin_file").to_pylist() == ["good.txt"]
    assert {name: reason for name, _, reason in reasons(reading) if not name.endswith("yaml")} == {
        "a.pdf": "corrupt_file", "b.docx": "corrupt_file", "c.docx": "corrupt_file", "d.docx": "encrypted",
        "e.rtf": "corrupt_file", "f.rtf": "corrupt_file", "g.xml": "corrupt_file", "h.xml": "unsupported_format",
        "i.xml": "corrupt_file", "j.html": "not_text", "k.json": "corrupt_file", "l.json": "unsupported_format",
        "m.hl7": "empty", "n.hl7": "unsupported_format", "o.zip": "corrupt_file", "p.ndjson": "unsupported_format",
    }  # fmt: skip


def test_no_reason_quotes_what_is_in_a_document(tmp_path: Path) -> None:
    """Libraries quote what they stumble over; the quarantine table is shown to people who may not read reports."""
    (tmp_path / "a.rtf").write_text("{\\rtf1 \\'zz" + MARKER + " \\u99999999999999 }")
    (tmp_path / "b.xml").write_text(f"<{MARKER}>")
    (tmp_path / "c.json").write_text(f'{{"{MARKER}": ')
    (tmp_path / "d.hl7").write_text(f"MSH|^~\\&|{MARKER}\rOBX|1|{MARKER}")
    (tmp_path / "e.html").write_bytes(MARKER.encode() + b"<\xff\xfe")
    (tmp_path / "f.pdf").write_text(f"%PDF-1.4 {MARKER}")
    reading = read(tmp_path)
    assert reading.reports.num_rows == 0
    assert MARKER not in str(reading.unreadable.to_pylist())


def test_a_document_without_a_patient_is_quarantined(tmp_path: Path) -> None:
    """A PDF names nobody itself: a sidecar must."""
    (tmp_path / "visit.pdf").write_bytes(as_pdf(REPORT))
    assert reasons(read(tmp_path)) == [("visit.pdf", None, "no_patient")]


def test_a_sidecar_and_the_batch_file_state_facts(tmp_path: Path) -> None:
    """What the file does not say, the file beside it says; what that does not say, the batch file."""
    (tmp_path / "batch.yaml").write_text("source: s\nfacts: {patient_id: 0123, facility: Lakeside}\n")
    (tmp_path / "a.pdf").write_bytes(as_pdf(REPORT))
    (tmp_path / "b.pdf").write_bytes(as_pdf(REPORT))
    (tmp_path / "b.yml").write_text("patient_id: 0456\nreport_id: own\nrelative: Ann Lee\n")
    first, second = read(tmp_path).reports.to_pylist()
    assert (first["report_id"], second["report_id"]) == ("b1/a", "b1/own")
    assert [(i["kind"], i["value"]) for i in first["known_identifiers"]] == [("id", "0123"), ("facility", "Lakeside")]
    assert {i["value"] for i in second["known_identifiers"]} == {"0456", "Ann Lee", "0123", "Lakeside"}
    assert first["patient_key"] != second["patient_key"]


def test_a_sidecar_that_cannot_be_used_holds_its_report_back(tmp_path: Path) -> None:
    """It may name someone whom nobody would remove."""
    (tmp_path / "a.pdf").write_bytes(as_pdf(REPORT))
    (tmp_path / "a.yaml").write_text(f"patient_id: 1\nspouse: {MARKER}\n")
    (tmp_path / "alone.yaml").write_text("patient_id: 1\n")
    reading = read(tmp_path)
    assert reasons(reading) == [("a.pdf", None, "bad_sidecar"), ("alone.yaml", None, "unsupported_format")]
    assert MARKER not in str(reading.unreadable.to_pylist())


def test_words_that_fill_an_empty_field_are_nobodys_name() -> None:
    """Cause unknown: a patient called UNKNOWN would take that word out of every finding."""
    words = ("Unknown", "UNKNOWN unknown", "N/A", "Ann Unknown", "Ann Unknown")
    assert [i.value for i in distinct(Identifier(Kind.NAME, word) for word in words)] == ["Ann Unknown"]


def test_a_changed_sidecar_is_another_version_of_the_batch(tmp_path: Path) -> None:
    """Somebody added the patient's maiden name: the report must be scrubbed again."""
    (tmp_path / "a.pdf").write_bytes(as_pdf(REPORT))
    (tmp_path / "a.yaml").write_text("patient_id: 1\n")
    before = read(tmp_path).version
    (tmp_path / "a.yaml").write_text("patient_id: 1\nrelative: Ann Lee\n")
    assert read(tmp_path).version != before


def test_a_document_is_the_same_in_its_own_process() -> None:
    """Nothing is lost on the way through the pipe."""
    content = as_awkward_docx(REPORT)
    with IsolatedDocuments(ReadLimits(), None) as documents:
        assert documents("docx", content) == read_document("docx", content, None)
        assert documents("text", plain(REPORT).encode()) == read_document("text", plain(REPORT).encode(), None)
