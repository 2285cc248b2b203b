"""The registry of document formats that hold one report each.

To add a format, write a module in this folder and an entry of `DOCUMENT_FORMATS`: recognition of attachments, the choice among
forms of one report, the version of the reader and the table in the documentation follow from it. Documents are read in the
process of isolated_reader.py, which imports each parsing library on first use.
"""

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

from fine_tune_assets.reports.file_contents import decode_text
from fine_tune_assets.reports.ocr import OcrProgram
from fine_tune_assets.reports.report_metadata import ParsedReport
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason


@dataclass(frozen=True)
class DocumentFormat:
    kind: str
    suffixes: tuple[str, ...]
    """File extensions; empty for kinds that occur only as attachments or in another reader."""
    media_types: tuple[str, ...]
    recognize: Callable[[bytes], bool]
    """Whether an attachment has this format, by its content, since declared media types are often wrong."""
    read: Callable[[bytes, OcrProgram | None], ParsedReport]
    loss: int
    """Of several forms of one report, that with the lowest value is read: how much the conversion to text loses."""
    parsers: tuple[str, ...]
    """Distributions whose versions affect the text."""
    reads: str
    """What is read, for the documentation."""


def _begins_with(*signatures: bytes) -> Callable[[bytes], bool]:
    """Lower-case first bytes, after a byte order mark and blanks."""
    return lambda content: _beginning(content).startswith(signatures)


def _is_archive_with(member: str) -> Callable[[bytes], bool]:
    """A ZIP archive with this member. Several formats are ZIP archives."""

    def recognize(content: bytes) -> bool:
        if not content.startswith(b"PK\x03\x04"):
            return False
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                return member in archive.namelist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError):
            return False

    return recognize


def _beginning(content: bytes) -> bytes:
    return content[:1024].lstrip(b"\xef\xbb\xbf \r\n\t").lower()


def _pdf(content: bytes, ocr: OcrProgram | None) -> ParsedReport:
    from fine_tune_assets.reports.formats.pdf import read_pdf

    return read_pdf(content, ocr)


def _docx(content: bytes, _ocr: OcrProgram | None) -> ParsedReport:
    from fine_tune_assets.reports.formats.docx import read_docx

    return read_docx(content)


def _rtf(content: bytes, _ocr: OcrProgram | None) -> ParsedReport:
    from fine_tune_assets.reports.formats.rtf import read_rtf

    return read_rtf(content)


def _html(content: bytes, _ocr: OcrProgram | None) -> ParsedReport:
    from fine_tune_assets.reports.formats.html import read_html

    return read_html(content)


def _ccda(content: bytes, ocr: OcrProgram | None) -> ParsedReport:
    from fine_tune_assets.reports.formats.ccda import read_ccda

    return read_ccda(content, lambda attached, media_type: _read_ccda_attachment(attached, media_type, ocr))


def _text(content: bytes, _ocr: OcrProgram | None) -> ParsedReport:
    text = decode_text(content)
    return ParsedReport(text, reference_text=text)


_WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_CLINICAL_DOCUMENT = "ccda"
DOCUMENT_FORMATS = (
    DocumentFormat(
        "pdf",
        (".pdf",),
        ("application/pdf",),
        _begins_with(b"%pdf"),
        _pdf,
        loss=4,
        parsers=("pypdf", "pypdfium2"),
        reads="the text layer with filled-in forms; scanned pages by OCR if tesseract is installed",
    ),
    DocumentFormat(
        "docx",
        (".docx",),
        (_WORD,),
        _is_archive_with("word/document.xml"),
        _docx,
        loss=3,
        parsers=("python-docx", "lxml"),
        reads="body, tables, text boxes, content controls, tracked insertions (not deletions), headers, footers, footnotes",
    ),
    DocumentFormat(
        "rtf",
        (".rtf",),
        ("application/rtf", "text/rtf", "text/richtext"),
        _begins_with(b"{\\rtf"),
        _rtf,
        loss=2,
        parsers=("striprtf",),
        reads="body, tables, text boxes, headers, footers, footnotes",
    ),
    DocumentFormat(
        "html",
        (".html", ".htm", ".xhtml"),
        ("text/html", "application/xhtml+xml"),
        _begins_with(b"<!doctype html", b"<html"),
        _html,
        loss=1,
        parsers=("lxml",),
        reads="what a browser shows without scripts, in UTF-8 or the declared character set",
    ),
    DocumentFormat(
        _CLINICAL_DOCUMENT,
        (".xml",),
        ("application/hl7-v3+xml", "application/hl7-sda+xml", "text/xml", "application/xml"),
        lambda content: b"<clinicaldocument" in _beginning(content),
        _ccda,
        loss=5,
        parsers=("defusedxml", "lxml"),
        reads="C-CDA: section titles and narratives, or the attached document",
    ),
    DocumentFormat(
        "text",
        (),
        ("text/plain", "text/markdown"),
        lambda _: False,
        _text,
        loss=0,
        parsers=(),
        reads="attached text, in UTF-8",
    ),
)
KIND_BY_SUFFIX = {suffix: known.kind for known in DOCUMENT_FORMATS for suffix in known.suffixes}
KIND_BY_MEDIA_TYPE = {media: known.kind for known in DOCUMENT_FORMATS for media in known.media_types}
FORMAT_BY_KIND = {known.kind: known for known in DOCUMENT_FORMATS}


def detect_attachment_kind(content: bytes, media_type: str) -> str:
    """Detect an attachment's kind by its content, then by its media type, which is often wrong.

    Raises UnreadableError for an unsupported kind, also for a ZIP archive that is not of a known format.
    """
    kind = next((known.kind for known in DOCUMENT_FORMATS if known.recognize(content)), None)
    if kind is None and not content.startswith(b"PK\x03\x04"):
        kind = KIND_BY_MEDIA_TYPE.get(media_type.split(";")[0].strip().lower())
    if kind is None:
        raise UnreadableError(
            UnreadableReason.UNSUPPORTED_FORMAT,
            "The attachment type is not supported. Attach text, PDF, RTF, HTML or DOCX.",
        )
    return kind


def read_document(kind: str, content: bytes, ocr: OcrProgram | None) -> ParsedReport:
    """Raises UnreadableError."""
    try:
        return FORMAT_BY_KIND[kind].read(content, ocr)
    except UnreadableError:
        raise
    except MemoryError as error:
        raise UnreadableError(
            UnreadableReason.READER_FAILED, "The reader ran out of memory. Split the file."
        ) from error
    # Any library error on a corrupt file. Its message may quote the report, so it is dropped.
    except Exception as error:
        raise UnreadableError(
            UnreadableReason.CORRUPT_FILE,
            f"The content does not match the file extension ({type(error).__name__}). Export it again.",
        ) from error


def _read_ccda_attachment(content: bytes, media_type: str, ocr: OcrProgram | None) -> ParsedReport:
    kind = detect_attachment_kind(content, media_type)
    if kind == _CLINICAL_DOCUMENT:
        raise UnreadableError(
            UnreadableReason.UNSUPPORTED_FORMAT,
            "The attachment is a clinical document. Add that document to the batch instead.",
        )
    return read_document(kind, content, ocr)
