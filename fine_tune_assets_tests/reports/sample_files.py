"""One synthetic report in every supported format; readers must find the same content in all of them.

The writers share no code with the readers.
"""

import base64
import csv
import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import docx
import pypdfium2
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls


@dataclass(frozen=True)
class Result:
    name: str
    value: str
    unit: str
    span: str
    flag: str = ""


@dataclass(frozen=True)
class MadeReport:
    subject_id: str
    given: str
    middle: str
    family: str
    birth_date: str
    physician_given: str
    physician_family: str
    relative_given: str
    relative_family: str
    facility: str
    street: str
    city: str
    phone: str
    accession: str
    sections: tuple[tuple[str, str], ...]
    results: tuple[Result, ...]

    @property
    def subject_name(self) -> str:
        return f"{self.given} {self.middle} {self.family}"

    @property
    def signs(self) -> list[str]:
        """Tokens that the text must contain in every format."""
        return [
            *(text for _, text in self.sections),
            *(part for r in self.results for part in (r.name, r.value, r.unit)),
        ]

    @property
    def stated(self) -> set[tuple[str, str]]:
        """Identifiers that HL7, FHIR and C-CDA state."""
        return {
            ("id", self.subject_id),
            ("name", self.subject_name),
            ("name", f"{self.physician_given} {self.physician_family}"),
            ("name", f"{self.relative_given} {self.relative_family}"),
            ("date", self.birth_date),
            ("address", self.street),
            ("address", self.city),
            ("phone", self.phone),
            ("id", self.accession),
        }


REPORT = MadeReport(
    subject_id="MRN-004711",
    given="Martha",
    middle="Jane",
    family="Collins",
    birth_date="1950-03-02",
    physician_given="Peter",
    physician_family="Moore",
    relative_given="Ruth",
    relative_family="Collins",
    facility="Lakeside Imaging Center",
    street="12 Harbour Lane",
    city="Westport",
    phone="555-0142-77",
    accession="ACC-20260301-17",
    sections=(
        ("FINDINGS", "There is no fracture of the left wrist. A 2.5 cm cyst lies in the right kidney, not enlarged."),
        ("IMPRESSION", "No acute finding. Dose was 0.25 mg; creatinine <1.1 & stable. Denies pain."),
    ),
    results=(
        Result("Haemoglobin", "11.20", "g/dL", "12.0-16.0", "L"),
        Result("Potassium", "4.1", "mmol/L", "3.5-5.1"),
    ),
)


def front_matter(report: MadeReport) -> str:
    return (
        f"subject_id: {report.subject_id}\nsubject_name: {report.subject_name}\nbirth_date: {report.birth_date}\n"
        f"physician: {report.physician_given} {report.physician_family}\n"
    )


def plain(report: MadeReport) -> str:
    sections = [f"{heading}\n\n{text}" for heading, text in report.sections]
    results = [f"{r.name}: {r.value} {r.unit} ({r.span}) {r.flag}".rstrip() for r in report.results]
    return "\n\n".join([*sections, "\n".join(results)]) + "\n"


def as_text(report: MadeReport) -> bytes:
    return f"---\n{front_matter(report)}---\n{plain(report)}".encode()


def as_csv(report: MadeReport) -> bytes:
    buffer = io.StringIO()
    rows = [["patient", "name", "text"], [report.subject_id, report.subject_name, plain(report)]]
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue().encode()


def as_jsonl(report: MadeReport) -> bytes:
    return (
        json.dumps({"patient": report.subject_id, "name": report.subject_name, "text": plain(report)}).encode() + b"\n"
    )


COLUMNS = "records: {subject_id: patient, identifiers: {name: name}, sections: {text: REPORT}}\n"
"""The batch.yaml for CSV and JSONL."""


def as_html(report: MadeReport) -> bytes:
    sections = "".join(f"<h2>{h}</h2><p>{escape(t)}</p>" for h, t in report.sections)
    rows = "".join(
        f"<tr><td>{r.name}</td><td>{r.value}</td><td>{r.unit}</td><td>{r.span}</td><td>{r.flag}</td></tr>"
        for r in report.results
    )
    page = f"<!DOCTYPE html><html><head><title>Export 77</title><style>p {{margin: 3px}}</style></head><body>{sections}"
    return f"{page}<table>{rows}</table><script>var x = 99;</script></body></html>".encode()


def as_rtf(report: MadeReport) -> bytes:
    def rtf(text: str) -> str:
        return "".join(c if c.isascii() and c not in "{}\\" else f"\\u{ord(c)}?" for c in text)

    sections = "".join(rf"{{\b {heading}}}\par\par {rtf(text)}\par\par " for heading, text in report.sections)
    rows = "".join(
        rf"\trowd\cellx2000\cellx4000\intbl {r.name}\cell {r.value} {r.unit} ({r.span}) {r.flag}\cell\row "
        for r in report.results
    )
    head = r"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\fswiss\fcharset0 Arial;}}{\colortbl;\red255\green0\blue0;}"
    return rf"{head}\f0\fs24 {sections}{rows}\pard }}".encode("ascii")


def as_docx(report: MadeReport) -> bytes:
    document = docx.Document()
    document.core_properties.author = ""
    document.sections[0].header.paragraphs[0].text = "Header line 31"
    document.sections[0].footer.paragraphs[0].text = "Footer line 32"
    for heading, text in report.sections:
        document.add_heading(heading, level=2)
        document.add_paragraph(text)
    table = document.add_table(rows=0, cols=3)
    for result in report.results:
        cells = table.add_row().cells
        cells[0].text, cells[1].text = result.name, f"{result.value} {result.unit}"
        cells[2].text = f"({result.span}) {result.flag}".rstrip()
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def as_awkward_docx(report: MadeReport) -> bytes:
    """What python-docx's `text` omits: a content control, a tracked insertion and deletion, a text box, 10⁹."""
    document = docx.Document(io.BytesIO(as_docx(report)))
    for xml in (
        "<w:p {}><w:sdt><w:sdtContent><w:r><w:t>Controlled 41 mg</w:t></w:r></w:sdtContent></w:sdt></w:p>",
        "<w:p {}><w:ins w:id='1' w:author='x'><w:r><w:t>Inserted 42 mg</w:t></w:r></w:ins>"
        "<w:del w:id='2' w:author='x'><w:r><w:delText>Deleted 43 mg</w:delText></w:r></w:del></w:p>",
        "<w:p {}><w:r><w:t>Leukocytes 5.1 x 10</w:t></w:r><w:r><w:rPr><w:vertAlign w:val='superscript'/></w:rPr>"
        "<w:t>9</w:t></w:r><w:r><w:t>/L at 3</w:t><w:noBreakHyphen/><w:t>4 h</w:t></w:r></w:p>",
        "<w:p {}><w:r><w:t>Temperature 37 </w:t><w:sym w:font='Symbol' w:char='F0B1'/><w:t>0.2</w:t></w:r>"
        "<m:oMath xmlns:m='http://schemas.openxmlformats.org/officeDocument/2006/math'><m:r><m:t>x=45</m:t></m:r></m:oMath></w:p>",
        "<w:p {}><w:r><w:pict><v:shape xmlns:v='urn:schemas-microsoft-com:vml'><v:textbox><w:txbxContent><w:p><w:r>"
        "<w:t>Boxed 44 mg</w:t></w:r></w:p></w:txbxContent></v:textbox></v:shape></w:pict></w:r></w:p>",
    ):
        document.element.body.insert(0, parse_xml(xml.format(nsdecls("w"))))
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def as_pdf(report: MadeReport) -> bytes:
    """A page of Helvetica text, written by hand: the smallest PDF with a text layer."""
    lines = [line for paragraph in plain(report).split("\n") for line in _wrapped(paragraph)]
    shown = "".join(f"({_pdf_text(line)}) Tj T*\n" for line in lines)
    stream = f"BT /F1 11 Tf 14 TL 60 760 Td\n{shown}ET".encode("cp1252")
    return _pdf([
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ])  # fmt: skip


def as_scan(report: MadeReport) -> bytes:
    """The same page as a picture: a PDF without a text layer."""
    document = pypdfium2.PdfDocument(as_pdf(report))
    buffer = io.BytesIO()
    document[0].render(scale=200 / 72).to_pil().save(buffer, format="PDF", resolution=200)
    return buffer.getvalue()


def as_form(value: str) -> bytes:
    """A page with a filled form: the field draws the value, not the page."""
    printed = b"BT /F1 11 Tf 60 760 Td (Printed 16 mg) Tj ET"
    typed = f"/Tx BMC BT /F1 11 Tf 2 4 Td ({_pdf_text(value)}) Tj ET EMC".encode("cp1252")
    fonts = b"/Resources << /Font << /F1 5 0 R >> >>"
    return _pdf([
        b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [6 0 R] >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Annots [6 0 R] %s >>" % fonts,
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(printed), printed),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (dose) /V (x) /F 4 /Rect [60 700 300 720] /AP << /N 7 0 R >> >>",
        b"<< /Type /XObject /Subtype /Form /BBox [0 0 240 20] %s /Length %d >>\nstream\n%s\nendstream"
        % (fonts, len(typed), typed),
    ])  # fmt: skip


def _wrapped(paragraph: str, width: int = 80) -> list[str]:
    lines = [""]
    for word in paragraph.split(" "):
        lines = [*lines[:-1], f"{lines[-1]} {word}".strip()] if len(lines[-1]) + len(word) < width else [*lines, word]
    return lines


def _pdf_text(line: str) -> str:
    return line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def _pdf(objects: list[bytes]) -> bytes:
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, item in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, item)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    return bytes(out + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))


def as_hl7(report: MadeReport, kind: str = "ORU^R01") -> bytes:
    def hl7(text: str) -> str:
        return text.replace("\\", r"\E\\").replace("&", r"\T\\"[:3]).replace("^", r"\S\\"[:3])

    family, given = report.family.upper(), report.given.upper()
    birth = report.birth_date.replace("-", "")
    segments = [
        rf"MSH|^~\&|RIS|{report.facility}|EHR|HOSP|20260301103000||{kind}|1|P|2.5",
        f"PID|1||{report.subject_id}^^^HOSP^MR||{family}^{given}^{report.middle.upper()}||{birth}|F|||"
        f"{report.street}^^{report.city}^CT^06880||{report.phone}",
        f"NK1|1|{report.relative_family}^{report.relative_given}|SIS",
        f"PV1|1|O|RAD^^^{report.facility}||||77^{report.physician_family}^{report.physician_given}",
        f"OBR|1|{report.accession}|F-1|RPT^Report|||20260301100000",
    ]
    for number, (heading, text) in enumerate(report.sections, start=1):
        segments.append(f"OBX|{number}|TX|{number}^{heading}||{hl7(text)}||||||F")
    for number, r in enumerate(report.results, start=10):
        segments.append(f"OBX|{number}|NM|{number}^{r.name}||{r.value}|{r.unit}|{r.span}|{r.flag}|||F")
    return "\r".join([*segments, ""]).encode()


def as_fhir(report: MadeReport) -> bytes:
    return _json(fhir_bundle(report))


def as_ndjson(report: MadeReport) -> bytes:
    entries = fhir_bundle(report)["entry"]
    return b"".join(_json(entry["resource"]) + b"\n" for entry in entries)


def fhir_bundle(report: MadeReport) -> dict[str, Any]:
    narrative = "\n\n".join(f"{heading}\n\n{text}" for heading, text in report.sections)
    observations = [
        {
            "resourceType": "Observation",
            "id": f"o{number}",
            "status": "final",
            "code": {"text": r.name},
            "subject": {"reference": "Patient/p1"},
            "valueQuantity": {"value": f"={r.value}", "unit": r.unit},
            "referenceRange": [{"text": r.span}],
            "interpretation": [{"coding": [{"code": r.flag or "N"}]}],
        }
        for number, r in enumerate(report.results)
    ]
    resources = [
        {
            "resourceType": "Patient",
            "id": "p1",
            "identifier": [{"type": {"coding": [{"code": "MR"}]}, "value": report.subject_id}],
            "name": [{"family": report.family, "given": [report.given, report.middle]}],
            "birthDate": report.birth_date,
            "address": [{"line": [report.street], "city": report.city}],
            "telecom": [{"system": "phone", "value": report.phone}],
            "contact": [{"name": {"family": report.relative_family, "given": [report.relative_given]}}],
        },
        {
            "resourceType": "Practitioner",
            "id": "d1",
            "name": [{"family": report.physician_family, "given": [report.physician_given]}],
        },
        *observations,
        {
            "resourceType": "DiagnosticReport",
            "id": "r1",
            "status": "final",
            "code": {"text": "Report"},
            "identifier": [{"value": report.accession}],
            "subject": {"reference": "Patient/p1"},
            "performer": [{"reference": "Practitioner/d1"}],
            "result": [{"reference": f"Observation/o{number}"} for number in range(len(observations))],
            "conclusion": narrative,
        },
    ]
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in resources]}


def _json(value: Any) -> bytes:
    """JSON with numbers as written, including trailing zeros: json.dumps would write 11.20 as 11.2."""
    return re.sub(r'"=([0-9.]+)"', r"\1", json.dumps(value)).encode()


def as_ccda(report: MadeReport) -> bytes:
    birth = report.birth_date.replace("-", "")
    sections = "".join(
        f"<component><section><title>{heading}</title><text><paragraph>{escape(text)}</paragraph></text></section></component>"
        for heading, text in report.sections
    )
    rows = "".join(f"<tr><td>{r.name}</td><td>{r.value} {r.unit}</td><td>{r.span}</td></tr>" for r in report.results)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<ClinicalDocument xmlns="urn:hl7-org:v3"><id root="1.2.3" extension="{report.accession}"/><effectiveTime value="20260301"/>
<recordTarget><patientRole><id root="1.2" extension="{report.subject_id}"/>
<addr><streetAddressLine>{report.street}</streetAddressLine><city>{report.city}</city></addr><telecom value="tel:{report.phone}"/>
<patient><name><given>{report.given}</given><given>{report.middle}</given><family>{report.family}</family></name>
<birthTime value="{birth}"/></patient></patientRole></recordTarget>
<author><assignedAuthor><assignedPerson><name><prefix>Dr</prefix><given>{report.physician_given}</given>
<family>{report.physician_family}</family></name></assignedPerson></assignedAuthor></author>
<participant typeCode="IND"><associatedEntity classCode="NOK"><associatedPerson><name><given>{report.relative_given}</given>
<family>{report.relative_family}</family></name></associatedPerson></associatedEntity></participant>
<component><structuredBody>{sections}<component><section><title>RESULTS</title><text><table><tbody>{rows}</tbody></table></text>
</section></component></structuredBody></component></ClinicalDocument>""".encode()


def as_zip(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 3, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def attached(content: bytes) -> str:
    return base64.b64encode(content).decode()


WITH_PATIENT: Mapping[str, Callable[[MadeReport], bytes]] = {
    "txt": as_text, "hl7": as_hl7, "json": as_fhir, "ndjson": as_ndjson, "xml": as_ccda,
}  # fmt: skip
"""File extension → writer, for formats that name the patient."""
WITH_SIDECAR: Mapping[str, Callable[[MadeReport], bytes]] = {
    "docx": as_docx, "pdf": as_pdf, "html": as_html, "rtf": as_rtf,
}  # fmt: skip
