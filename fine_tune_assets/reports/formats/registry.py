"""The kinds of documents that are one report each: the one place where a document format is added.

A format is a module of this folder that reads it, and an entry of `DOCUMENT_FORMATS`. Documents are read in the child process of
isolation.py, and the libraries are loaded only there, each with the first document that needs it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fine_tune_assets.reports.contents import decode
from fine_tune_assets.reports.facts import Found
from fine_tune_assets.reports.ocr import OcrProgram
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError


@dataclass(frozen=True)
class DocumentFormat:
    kind: str
    endings: tuple[str, ...]
    """Of files; none for what only comes as an attachment or under another reader."""
    media_types: tuple[str, ...]
    beginnings: tuple[bytes, ...]
    """First bytes, in small letters, by which an attachment is recognised: its media type is often wrong."""
    read: Callable[[bytes, OcrProgram | None], Found]


def _pdf(content: bytes, ocr: OcrProgram | None) -> Found:
    from fine_tune_assets.reports.formats.pdf import read_pdf

    return read_pdf(content, ocr)


def _docx(content: bytes, _ocr: OcrProgram | None) -> Found:
    from fine_tune_assets.reports.formats.docx import read_docx

    return read_docx(content)


def _rtf(content: bytes, _ocr: OcrProgram | None) -> Found:
    from fine_tune_assets.reports.formats.rtf import read_rtf

    return read_rtf(content)


def _html(content: bytes, _ocr: OcrProgram | None) -> Found:
    from fine_tune_assets.reports.formats.html import read_html

    return read_html(content)


def _ccda(content: bytes, ocr: OcrProgram | None) -> Found:
    from fine_tune_assets.reports.formats.ccda import read_ccda

    return read_ccda(content, lambda attached, media_type: _attached_to_ccda(attached, media_type, ocr))


def _text(content: bytes, _ocr: OcrProgram | None) -> Found:
    text = decode(content)
    return Found(text, evidence=text)


_WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_CLINICAL_DOCUMENT = "ccda"
DOCUMENT_FORMATS = (
    DocumentFormat("pdf", (".pdf",), ("application/pdf",), (b"%pdf",), _pdf),
    DocumentFormat("docx", (".docx",), (_WORD,), (b"pk\x03\x04",), _docx),
    DocumentFormat("rtf", (".rtf",), ("application/rtf", "text/rtf", "text/richtext"), (b"{\\rtf",), _rtf),
    DocumentFormat(
        "html",
        (".html", ".htm", ".xhtml"),
        ("text/html", "application/xhtml+xml"),
        (b"<!doctype html", b"<html"),
        _html,
    ),
    DocumentFormat(
        _CLINICAL_DOCUMENT,
        (".xml",),
        ("application/hl7-v3+xml", "application/hl7-sda+xml", "text/xml", "application/xml"),
        (),
        _ccda,
    ),
    DocumentFormat("text", (), ("text/plain", "text/markdown"), (), _text),
)
KIND_OF_ENDING = {ending: known.kind for known in DOCUMENT_FORMATS for ending in known.endings}
KIND_OF_MEDIA = {media: known.kind for known in DOCUMENT_FORMATS for media in known.media_types}
_BY_KIND = {known.kind: known for known in DOCUMENT_FORMATS}


def kind_of_attachment(content: bytes, media_type: str) -> str:
    """The kind of document that an attachment is, by its first bytes and else by its label: labels are often wrong.

    Raises UnreadableError if it is of a kind that is not read.
    """
    beginning = content[:1024].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if b"<clinicaldocument" in beginning:
        return _CLINICAL_DOCUMENT
    kind = next((known.kind for known in DOCUMENT_FORMATS if beginning.startswith(known.beginnings)), None)
    kind = kind or KIND_OF_MEDIA.get(media_type.split(";")[0].strip().lower())
    if kind is None:
        raise UnreadableError(
            Reason.UNSUPPORTED_FORMAT,
            "Its attachment is of a type that is not read. Attach text, PDF, RTF, HTML or DOCX.",
        )
    return kind


def read_document(kind: str, content: bytes, ocr: OcrProgram | None) -> Found:
    """The report in a document. Raises UnreadableError, and whatever the libraries raise over a broken one."""
    return _BY_KIND[kind].read(content, ocr)


def _attached_to_ccda(content: bytes, media_type: str, ocr: OcrProgram | None) -> Found:
    kind = kind_of_attachment(content, media_type)
    if kind == _CLINICAL_DOCUMENT:
        raise UnreadableError(Reason.UNSUPPORTED_FORMAT, "Its attachment is a clinical document itself. Drop that one.")
    return read_document(kind, content, ocr)
