"""Reads a document that is one report: chooses the reader by the kind of document.

Owns the kinds. Runs in the child process of isolation.py, so that the libraries are loaded only there.
"""

from collections.abc import Mapping

from fine_tune_assets.reports.contents import decode
from fine_tune_assets.reports.facts import Found
from fine_tune_assets.reports.ocr import OcrProgram
from fine_tune_assets.reports.quarantine import Reason, UnreadableError

KIND_OF_MEDIA: Mapping[str, str] = {
    "application/pdf": "pdf",
    "application/rtf": "rtf",
    "text/rtf": "rtf",
    "text/richtext": "rtf",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/plain": "text",
    "text/markdown": "text",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/hl7-v3+xml": "ccda",
    "application/hl7-sda+xml": "ccda",
    "text/xml": "ccda",
    "application/xml": "ccda",
}
"""Media type of an attachment → kind of document."""


_BEGINNINGS = (
    (b"%PDF", "pdf"), (b"{\\rtf", "rtf"), (b"PK\x03\x04", "docx"), (b"<!doctype html", "html"), (b"<html", "html"),
)  # fmt: skip


def kind_of_attachment(content: bytes, media_type: str) -> str:
    """The kind of document that an attachment is, by its first bytes and else by its label: labels are often wrong.

    Raises UnreadableError if it is of a kind that is not read.
    """
    beginning = content[:1024].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if b"<clinicaldocument" in beginning:
        return "ccda"
    kind = next((kind for start, kind in _BEGINNINGS if beginning.startswith(start.lower())), None)
    kind = kind or KIND_OF_MEDIA.get(media_type.split(";")[0].strip().lower())
    if kind is None:
        raise UnreadableError(
            Reason.UNSUPPORTED_FORMAT,
            "Its attachment is of a type that is not read. Attach text, PDF, RTF, HTML or DOCX.",
        )
    return kind


def read_document(kind: str, content: bytes, ocr: OcrProgram | None) -> Found:
    """The report in a document. Raises UnreadableError, and whatever the libraries raise over a broken one.

    Imported one by one: each costs time and memory.
    """
    if kind == "pdf":
        from fine_tune_assets.reports.formats.pdf import read_pdf

        return read_pdf(content, ocr)
    if kind == "docx":
        from fine_tune_assets.reports.formats.docx import read_docx

        return read_docx(content)
    if kind == "rtf":
        from fine_tune_assets.reports.formats.rtf import read_rtf

        return read_rtf(content)
    if kind == "html":
        from fine_tune_assets.reports.formats.html import read_html

        return read_html(content)
    if kind == "ccda":
        from fine_tune_assets.reports.formats.ccda import read_ccda

        return read_ccda(content, lambda attached, media_type: _attached_to_ccda(attached, media_type, ocr))
    text = decode(content)
    return Found(text, evidence=text)


def _attached_to_ccda(content: bytes, media_type: str, ocr: OcrProgram | None) -> Found:
    kind = kind_of_attachment(content, media_type)
    if kind == "ccda":
        raise UnreadableError(Reason.UNSUPPORTED_FORMAT, "Its attachment is a clinical document itself. Drop that one.")
    return read_document(kind, content, ocr)
