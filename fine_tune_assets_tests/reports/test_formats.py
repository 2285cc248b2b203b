"""One report in every format: numbers, units, sides, negations and the people it names are the same."""

import io
import json
from pathlib import Path

import docx
import pypdf
import pypdfium2
import pytest

from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.fidelity import count_differences
from fine_tune_assets.reports.formats.document_formats import read_document
from fine_tune_assets.reports.formats.html import read_html
from fine_tune_assets.reports.formats.rtf import read_rtf
from fine_tune_assets.reports.isolated_reader import IsolatedReader
from fine_tune_assets.reports.ocr import OcrProgram, find_ocr, parse_word_table
from fine_tune_assets.reports.report_metadata import deduplicate_identifiers
from fine_tune_assets.reports.stated_identifiers import Identifier, IdentifierKind
from fine_tune_assets.reports.text_cleanup import decode_symbol_font, normalize_layout
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason
from fine_tune_assets_tests.reports.read_files import FILES, check_signs, read, reasons
from fine_tune_assets_tests.reports.sample_files import (
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
from fine_tune_assets_tests.system_programs import TESSERACT, require_program

MARKER = "Zyxwvutquark"


@pytest.mark.parametrize("ending", [*WITH_PATIENT, *WITH_SIDECAR])
def test_every_format_yields_the_same_report(tmp_path: Path, ending: str) -> None:
    """A lost number, side or negation is worse than an unreadable report."""
    (tmp_path / f"visit.{ending}").write_bytes({**WITH_PATIENT, **WITH_SIDECAR}[ending](REPORT))
    if ending in WITH_SIDECAR:
        (tmp_path / "visit.yaml").write_text(front_matter(REPORT))
    reading = read(tmp_path)
    assert reasons(reading) == []
    (row,) = reading.reports.to_pylist()
    check_signs(row["text"])
    assert {("id", REPORT.subject_id)} <= {(i["kind"], i["value"]) for i in row["known_identifiers"]}
    assert "99" not in row["text"], "a script is not text"


@pytest.mark.parametrize(
    ("ending", "level"), [("hl7", 1), ("xml", 1), ("docx", 2), ("html", 2), ("rtf", 10), ("txt", None), ("pdf", None)]
)
def test_a_format_with_heading_styles_states_the_headings_by_line(
    tmp_path: Path, ending: str, level: int | None
) -> None:
    """Sections end there, whatever the recipe names. The text itself is the same as without them."""
    (tmp_path / f"visit.{ending}").write_bytes({**WITH_PATIENT, **WITH_SIDECAR}[ending](REPORT))
    if ending in WITH_SIDECAR:
        (tmp_path / "visit.yaml").write_text(front_matter(REPORT))
    (row,) = read(tmp_path).reports.to_pylist()
    lines = row["text"].splitlines()
    found = [(lines[heading["line"] - 1], heading["level"]) for heading in row["headings"]]
    assert found[:2] == ([] if level is None else [(heading, level) for heading, _ in REPORT.sections[:2]])
    assert not {"\x11", "\x12"} & set(row["text"])


def test_a_composition_states_the_titles_of_its_sections(tmp_path: Path) -> None:
    """Also of the sections within them, and of the page in a narrative."""
    div = "<div xmlns='http://www.w3.org/1999/xhtml'><p>{}</p></div>"
    inner = {"title": "Roof", "text": {"div": div.format("Leaks.")}}
    composition = {
        "resourceType": "Composition",
        "subject": {"reference": "Patient/p"},
        "section": [
            {"title": "Findings", "text": {"div": div.format("Wet.")}, "section": [inner]},
            {"title": "Plan", "text": {"div": div.format("<b>Now</b>")}},
        ],
    }
    patient = {"resourceType": "Patient", "id": "p", "identifier": [{"value": "A-1"}]}
    bundle = {"resourceType": "Bundle", "type": "document", "entry": [{"resource": r} for r in (composition, patient)]}
    (tmp_path / "a.json").write_text(json.dumps(bundle))
    (row,) = read(tmp_path).reports.to_pylist()
    lines = row["text"].splitlines()
    found = [(lines[heading["line"] - 1], heading["level"]) for heading in row["headings"]]
    assert found == [("Findings", 1), ("Roof", 2), ("Plan", 1), ("Now", 10)]


def test_no_mark_of_a_heading_stays_in_a_text() -> None:
    """A stranger's file may contain any character. A forged mark makes a heading at most, as a style would."""
    rtf = read_rtf(rb"{\rtf1\ansi \'111\'12Scope\par\par Text\'11.}")
    html = read_html(b"<p>&#x11;1&#x12;Scope</p><h2></h2><p>Text</p>")
    for found in (rtf, html):
        assert not {"\x11", "\x12"} & set(found.text)
    assert [one for one in html.headings if one.level == 2] == [], "an empty heading marks nothing"


@pytest.mark.parametrize("ending", ["hl7", "json", "ndjson", "xml"])
def test_identifiers_stated_by_a_format_are_extracted(tmp_path: Path, ending: str) -> None:
    """These values are removed for certain; a name that occurs only in the text must be recognized."""
    (tmp_path / f"visit.{ending}").write_bytes(WITH_PATIENT[ending](REPORT))
    (row,) = read(tmp_path).reports.to_pylist()
    stated = {(i["kind"], i["value"].title() if i["kind"] == "name" else i["value"]) for i in row["known_identifiers"]}
    assert stated >= REPORT.stated


@pytest.mark.parametrize(("ending", "write"), [("csv", as_csv), ("jsonl", as_jsonl)])
def test_tables_yield_the_same_report(tmp_path: Path, ending: str, write: type(as_csv)) -> None:
    """batch.yaml maps the columns."""
    (tmp_path / "batch.yaml").write_text(COLUMNS)
    (tmp_path / f"visits.{ending}").write_bytes(write(REPORT))
    (row,) = read(tmp_path).reports.to_pylist()
    check_signs(row["text"])


def test_a_subject_is_the_same_in_every_format(tmp_path: Path) -> None:
    """With HL7 from one system and FHIR from another, the subject could end up in both train and test."""
    for ending, write in WITH_PATIENT.items():
        (tmp_path / f"from-{ending}.{ending}").write_bytes(write(REPORT))
    assert len(set(read(tmp_path).reports.column("subject_key").to_pylist())) == 1


def test_docx_text_includes_what_its_library_omits() -> None:
    """Hospital templates consist of content controls, tracked insertions, text boxes, headers and footers."""
    text = read_document("docx", as_awkward_docx(REPORT), None).text
    for text_part in (
        "Controlled 41 mg",
        "Inserted 42 mg",
        "Boxed 44 mg",
        "Header line 31",
        "Footer line 32",
        "3-4 h",
        "37 ±0.2",
        "x=45",
    ):
        assert text_part in text
    assert "Deleted" not in text
    assert "5.1 x 10^9/L" in text
    check_signs(text)


@pytest.mark.parametrize(
    "path", sorted(p for p in FILES.iterdir() if p.suffix in {".rtf", ".docx", ".html", ".pdf"}), ids=lambda p: p.name
)
def test_files_of_other_programs_are_read_unchanged(tmp_path: Path, path: Path) -> None:
    """LibreOffice and pandoc wrote these: our own writers share our misunderstandings."""
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


def test_rtf_text_includes_headers_footnotes_and_text_boxes() -> None:
    """The library omits them, but they contain the patient's name and addenda."""
    rtf = (
        rb"{\rtf1\ansi\ansicpg1252{\header Head 71\par}{\footer Foot 72\par}Body 73 mg{\footnote Note 74}\par "
        rb"{\shp{\*\shpinst\shpleft1{\sp{\sn shapeType}{\sv 202}}{\shptxt Box 75\par}}{\shprslt Box 75\par}}"
        rb"5 x 10{\super 9}/L, \u177?2 at 37\'b0C \{x\}\par}"
    )
    report = read_document("rtf", rtf, None)
    for text_part in ("Head 71", "Foot 72", "Body 73 mg", "Note 74", "Box 75", "10^9/L", "±2", "37°C"):
        assert text_part in report.text
    assert report.text.count("Box 75") == 1
    assert count_differences(report.reference_text or "", report.text, report.is_reference_complete) == {}


def test_symbol_font_characters_are_decoded() -> None:
    """Read as Latin letters, "INR ≥ 3" would be "INR ³ 3"."""
    fonts = rb"{\fonttbl{\f0\fswiss\fcharset0 Arial;}{\f3\froman\fcharset2\fprq2 Symbol;}}"
    rtf = rb"{\rtf1\ansi" + fonts + rb"\f0 INR {\f3\fs20\'b3} 3 \'b3 \u-3919?2}"
    report = read_document("rtf", rtf, None)
    assert report.text == "INR ≥ 3 ³ ±2"
    assert count_differences(report.reference_text or "", report.text, report.is_reference_complete) == {}
    assert decode_symbol_font("\uf0a33 \uf06d \uf035 \uf07f") == "≤3 μ 5 \uf07f"


def test_html_tables_lists_and_lines_are_preserved() -> None:
    """A result and its value must stay together."""
    page = (
        b"<html><body><h1>Labs</h1><table><tr><th>Test<th>Value<tr><td>Na<td>140<br>mmol/L</table>"
        b"<ul><li>no fever<li>BP&nbsp;120/80"
        b"</ul><pre>K   4.1\nCl  99</pre>5 &lt; 7<sup>2</sup> <del>8 mg</del></body></html>"
    )
    report = read_document("html", page, None)
    assert report.text.split("\n") == [
        "Labs", "", "Test | Value", "Na | 140 mmol/L", "", "- no fever", "- BP 120/80", "", "K   4.1", "Cl  99", "5 < 7^2",
    ]  # fmt: skip
    assert count_differences(report.reference_text or "", report.text, report.is_reference_complete) == {}


@pytest.mark.parametrize(("declared", "encoding"), [("windows-1252", "cp1252"), ("utf-8", "utf-8")])
def test_html_is_decoded_with_its_declared_character_set(declared: str, encoding: str) -> None:
    """Otherwise ± and ° are lost."""
    page = f'<html><head><meta charset="{declared}"></head><body>37.2 °C ± 0.1</body></html>'
    assert read_document("html", page.encode(encoding), None).text == "37.2 °C ± 0.1"


def test_without_ocr_a_scan_is_unreadable() -> None:
    """A silently empty page would lose half of a report's findings."""
    with pytest.raises(UnreadableError) as caught:
        read_document("pdf", as_scan(REPORT), None)
    assert caught.value.reason is UnreadableReason.NO_TEXT_LAYER


@pytest.fixture
def ocr() -> OcrProgram:
    require_program(TESSERACT)
    program = find_ocr()
    assert program is not None
    return program


def test_ocr_reads_a_scan(ocr: OcrProgram) -> None:
    """The picture of a page yields the page's text."""
    check_signs(read_document("pdf", as_scan(REPORT), ocr).text)


def test_a_failing_ocr_program_affects_only_one_file() -> None:
    """It may lack a language or be broken."""
    with pytest.raises(UnreadableError) as caught:
        read_document("pdf", as_scan(REPORT), OcrProgram("/bin/false"))
    assert caught.value.reason is UnreadableReason.READER_FAILED


WORDS = (
    "level\tblock_num\tpar_num\tline_num\tconf\ttext\n5\t1\t1\t1\t96\tDose\n"
    "5\t1\t1\t1\t{conf}\t{text}\n5\t1\t2\t1\t20\tsmudge\n"
)


def test_an_uncertain_number_in_ocr_closes_the_gate() -> None:
    """3 and 8 look alike on a fax."""
    assert parse_word_table(WORDS.format(conf=95, text='"8')) == 'Dose "8\n\nsmudge'
    with pytest.raises(UnreadableError) as caught:
        parse_word_table(WORDS.format(conf=41, text="8"))
    assert caught.value.reason is UnreadableReason.LOW_OCR_CONFIDENCE


def test_a_password_makes_a_pdf_unreadable_but_edit_restrictions_do_not() -> None:
    """Many systems restrict editing, which hides nothing."""
    for user, owner in (("secret", "secret"), ("", "secret")):
        writer = pypdf.PdfWriter(clone_from=io.BytesIO(as_pdf(REPORT)))
        writer.encrypt(user, owner, algorithm="AES-256")
        buffer = io.BytesIO()
        writer.write(buffer)
        if user:
            with pytest.raises(UnreadableError) as caught:
                read_document("pdf", buffer.getvalue(), None)
            assert caught.value.reason is UnreadableReason.ENCRYPTED
        else:
            check_signs(read_document("pdf", buffer.getvalue(), None).text)


def test_form_values_are_text() -> None:
    """They are separate from the page content, and most readers omit them."""
    text = read_document("pdf", as_form("Dose 17 mg"), None).text
    assert text.split("\n") == ["Printed 16 mg", "Dose 17 mg"]


def test_a_document_whose_text_is_a_picture_is_unreadable() -> None:
    """A letterhead above a scan would be a report without content."""
    picture = io.BytesIO()
    pypdfium2.PdfDocument(as_pdf(REPORT))[0].render(scale=0.2).to_pil().save(picture, format="PNG")
    document = docx.Document()
    document.add_paragraph("Lakeside Imaging Center")
    document.add_picture(picture)
    buffer = io.BytesIO()
    document.save(buffer)
    with pytest.raises(UnreadableError) as caught:
        read_document("docx", buffer.getvalue(), None)
    assert caught.value.reason is UnreadableReason.NO_TEXT_LAYER


def test_ligatures_and_hyphens_are_normalized_and_superscripts_stay() -> None:
    """A name with an "fi" ligature would not be found; 10⁹ must never become 109."""
    assert (
        normalize_layout("O\ufb03ce of Mrs\u00a0Smith\u2011Ha\u00adll, 10⁹/L m²\u200b \x0c end ")
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


def test_a_corrupt_file_of_each_format_is_unreadable_with_its_reason(tmp_path: Path, broken: dict[str, bytes]) -> None:
    """None affects the others."""
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).with_suffix(".yaml").write_text("subject_id: p\n")
    (tmp_path / "good.txt").write_bytes(as_text(REPORT))
    reading = read(tmp_path)
    assert reading.reports.column("origin_file").to_pylist() == ["good.txt"]
    assert {name: reason for name, _, reason in reasons(reading) if not name.endswith("yaml")} == {
        "a.pdf": "corrupt_file", "b.docx": "corrupt_file", "c.docx": "corrupt_file", "d.docx": "encrypted",
        "e.rtf": "corrupt_file", "f.rtf": "corrupt_file", "g.xml": "corrupt_file", "h.xml": "unsupported_format",
        "i.xml": "corrupt_file", "j.html": "not_text", "k.json": "corrupt_file", "l.json": "unsupported_format",
        "m.hl7": "empty", "n.hl7": "unsupported_format", "o.zip": "corrupt_file", "p.ndjson": "unsupported_format",
    }  # fmt: skip


def test_no_reason_quotes_document_content(tmp_path: Path) -> None:
    """Libraries quote what they fail on; people who may not read reports see the table."""
    (tmp_path / "a.rtf").write_text("{\\rtf1 \\'zz" + MARKER + " \\u99999999999999 }")
    (tmp_path / "b.xml").write_text(f"<{MARKER}>")
    (tmp_path / "c.json").write_text(f'{{"{MARKER}": ')
    (tmp_path / "d.hl7").write_text(f"MSH|^~\\&|{MARKER}\rOBX|1|{MARKER}")
    (tmp_path / "e.html").write_bytes(MARKER.encode() + b"<\xff\xfe")
    (tmp_path / "f.pdf").write_text(f"%PDF-1.4 {MARKER}")
    reading = read(tmp_path)
    assert reading.reports.num_rows == 0
    assert MARKER not in str(reading.unreadable.to_pylist())


def test_a_document_without_a_subject_is_unreadable(tmp_path: Path) -> None:
    """A PDF names no subject, so it needs a sidecar."""
    (tmp_path / "visit.pdf").write_bytes(as_pdf(REPORT))
    assert reasons(read(tmp_path)) == [("visit.pdf", None, "no_subject")]


def test_sidecar_and_batch_file_add_metadata(tmp_path: Path) -> None:
    """The file takes precedence over its sidecar, and the sidecar over the batch file."""
    (tmp_path / "batch.yaml").write_text("source: s\nmetadata: {subject_id: 0123, facility: Lakeside}\n")
    (tmp_path / "a.pdf").write_bytes(as_pdf(REPORT))
    (tmp_path / "b.pdf").write_bytes(as_pdf(REPORT))
    (tmp_path / "b.yml").write_text("subject_id: 0456\nreport_id: own\nrelative: Ann Lee\n")
    first, second = read(tmp_path).reports.to_pylist()
    assert (first["report_id"], second["report_id"]) == ("b1/a", "b1/own")
    assert [(i["kind"], i["value"]) for i in first["known_identifiers"]] == [("id", "0123"), ("facility", "Lakeside")]
    assert {i["value"] for i in second["known_identifiers"]} == {"0456", "Ann Lee", "0123", "Lakeside"}
    assert first["subject_key"] != second["subject_key"]


def test_an_invalid_sidecar_makes_its_report_unreadable(tmp_path: Path) -> None:
    """It may name someone whose name would otherwise not be removed."""
    (tmp_path / "a.pdf").write_bytes(as_pdf(REPORT))
    (tmp_path / "a.yaml").write_text(f"subject_id: 1\nspouse: {MARKER}\n")
    (tmp_path / "alone.yaml").write_text("subject_id: 1\n")
    reading = read(tmp_path)
    assert reasons(reading) == [("a.pdf", None, "bad_sidecar"), ("alone.yaml", None, "unsupported_format")]
    assert MARKER not in str(reading.unreadable.to_pylist())


def test_placeholder_words_of_empty_fields_are_not_identifiers() -> None:
    """A subject named UNKNOWN would remove that word from every finding, as in "cause unknown"."""
    words = ("Unknown", "UNKNOWN unknown", "N/A", "Ann Unknown", "Ann Unknown")
    assert [i.value for i in deduplicate_identifiers(Identifier(IdentifierKind.NAME, word) for word in words)] == [
        "Ann Unknown"
    ]


def test_a_changed_sidecar_changes_the_batch_version(tmp_path: Path) -> None:
    """If it adds the subject's maiden name, the report must be scrubbed again."""
    (tmp_path / "a.pdf").write_bytes(as_pdf(REPORT))
    (tmp_path / "a.yaml").write_text("subject_id: 1\n")
    before = read(tmp_path).version
    (tmp_path / "a.yaml").write_text("subject_id: 1\nrelative: Ann Lee\n")
    assert read(tmp_path).version != before


def test_a_document_read_in_the_subprocess_is_the_same() -> None:
    """The protocol must lose nothing."""
    content = as_awkward_docx(REPORT)
    with IsolatedReader(ReadLimits(), None) as documents:
        assert documents("docx", content) == read_document("docx", content, None)
        assert documents("text", plain(REPORT).encode()) == read_document("text", plain(REPORT).encode(), None)
