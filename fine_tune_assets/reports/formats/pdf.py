"""PDF documents: the text layer, and OCR for scanned pages.

PDFium extracts the text (permissive licence, Chrome's reading order); pypdf, which shares no code with it, the reference text.
In PDF, superscripts are only smaller digits: without checking font sizes, 10⁹ would read as 109.
"""

import ctypes
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import pypdf
import pypdfium2
import pypdfium2.raw as pdfium

from fine_tune_assets.reports.ocr import DOTS_PER_INCH, OcrProgram
from fine_tune_assets.reports.report_metadata import ParsedReport
from fine_tune_assets.reports.text_cleanup import normalize_layout
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason

_MAX_PAGES = 2_000
_MAX_PIXELS = 50_000_000
_PICTURE_FRACTION = 0.5
_STAMP_CHARACTERS = 100
"""A page with a large picture and fewer characters is taken for a scan with a stamp such as "Page 1 of 2"."""
_POINTS_PER_INCH = 72
_HYPHENS = frozenset({0x2, 0xFFFE})
"""PDFium's codes for a hyphen at the end of a line."""
_LINE_ENDS = frozenset({0xA, 0xD})
_SUPERSCRIPT_SIZE, _SUPERSCRIPT_HEIGHT = 0.85, 0.15


@dataclass(frozen=True)
class _Page:
    text: str
    is_picture: bool


def read_pdf(content: bytes, ocr: OcrProgram | None) -> ParsedReport:
    """Raises UnreadableError."""
    document = _open_document(content)
    try:
        if len(document) > _MAX_PAGES:
            raise UnreadableError(UnreadableReason.TOO_LARGE, f"The file has more than {_MAX_PAGES} pages. Split it.")
        pages = [_read_page(document, number) for number in range(len(document))]
        pictures = [number for number, page in enumerate(pages) if page.is_picture]
        if pictures and ocr is None:
            raise UnreadableError(
                UnreadableReason.NO_TEXT_LAYER,
                f"{len(pictures)} of {len(pages)} pages are pictures without text. Install tesseract, or export text.",
            )
        texts = [page.text for page in pages]
        for number in pictures:
            assert ocr is not None
            texts[number] = "\n\n".join(
                part for part in (texts[number], ocr.read(_render_png(document, number))) if part
            )
    finally:
        document.close()
    text = "\n\n".join(text for text in texts if text)
    if not text.strip():
        raise UnreadableError(UnreadableReason.EMPTY, "The pages contain no text.")
    return ParsedReport(text, reference_text=_read_reference_text(content), is_reference_complete=False)


def _open_document(content: bytes) -> pypdfium2.PdfDocument:
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if error.err_code in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY):
            raise UnreadableError(
                UnreadableReason.ENCRYPTED, "The file is password-protected. Save it without a password."
            ) from error
        raise UnreadableError(UnreadableReason.CORRUPT_FILE, "The file is not a valid PDF. Export it again.") from error
    document.init_forms()
    return document


def _read_page(document: pypdfium2.PdfDocument, number: int) -> _Page:
    page = document[number]
    # Text in form fields and stamps belongs to the page only after flattening.
    if pdfium.FPDFPage_Flatten(page.raw, pdfium.FLAT_NORMALDISPLAY) == pdfium.FLATTEN_SUCCESS:
        page.close()
        page = document[number]
    text = normalize_layout("".join(_iter_characters(page.get_textpage())))
    characters = len("".join(text.split()))
    found = _Page(text, is_picture=characters < _STAMP_CHARACTERS and _is_covered_by_picture(page, characters == 0))
    page.close()
    return found


def _iter_characters(text: pypdfium2.PdfTextPage) -> Iterator[str]:
    before, is_raised = "", False
    for number in range(text.count_chars()):
        code = pdfium.FPDFText_GetUnicode(text.raw, number)
        character = "-" if code in _HYPHENS else chr(code) if 0 < code < 0x110000 else ""
        if is_raised and character in ("\r", "\n") and _is_line_continued(text, number):
            continue  # PDFium takes the step down from a superscript for a line end
        if character.isdigit() and before.isdigit() and _is_superscript(text, number):
            is_raised = True
            yield "^"
        elif character not in ("\r", "\n"):
            is_raised = is_raised and character.isdigit()
        yield character
        before = character


def _is_line_continued(text: pypdfium2.PdfTextPage, number: int) -> bool:
    """Whether the text after a line break continues to the right of the text before it."""
    ends = [number + step for step in (-2, -1, 1, 2) if 0 <= number + step < text.count_chars()]
    places = {at: _read_origin(text, at) for at in ends if pdfium.FPDFText_GetUnicode(text.raw, at) not in _LINE_ENDS}
    left = [place for at, place in places.items() if at < number]
    right = [place for at, place in places.items() if at > number]
    return bool(left and right) and right[0][0] > left[-1][0]


def _read_origin(text: pypdfium2.PdfTextPage, number: int) -> tuple[float, float]:
    x, y = ctypes.c_double(), ctypes.c_double()
    pdfium.FPDFText_GetCharOrigin(text.raw, number, x, y)
    return x.value, y.value


def _is_superscript(text: pypdfium2.PdfTextPage, number: int) -> bool:
    """Whether a character is smaller and higher than the one before it."""
    small, size = (pdfium.FPDFText_GetFontSize(text.raw, at) for at in (number, number - 1))
    higher = _read_origin(text, number)[1] - _read_origin(text, number - 1)[1]
    return small < _SUPERSCRIPT_SIZE * size and higher > _SUPERSCRIPT_HEIGHT * size


def _is_covered_by_picture(page: pypdfium2.PdfPage, has_no_text: bool) -> bool:
    """Whether a picture fills the page or, on a page without text, whether there is any object."""
    width, height = page.get_size()
    boxes = [item.get_bounds() for item in page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE], max_depth=5)]
    largest = max(((right - left) * (top - bottom) for left, bottom, right, top in boxes), default=0.0)
    if has_no_text and next(iter(page.get_objects(max_depth=5)), None) is not None:
        return True
    return largest >= _PICTURE_FRACTION * width * height


def _render_png(document: pypdfium2.PdfDocument, number: int) -> bytes:
    page = document[number]
    width, height = page.get_size()
    scale = DOTS_PER_INCH / _POINTS_PER_INCH
    if width * height * scale * scale > _MAX_PIXELS:
        raise UnreadableError(
            UnreadableReason.TOO_LARGE, "A scanned page is too large to render. Scan it at a normal page size."
        )
    buffer = io.BytesIO()
    page.render(scale=scale, grayscale=True).to_pil().save(buffer, format="PNG")
    return buffer.getvalue()


def _read_reference_text(content: bytes) -> str:
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    reader = pypdf.PdfReader(io.BytesIO(content))
    return "\n\n".join(_ReferenceText().extract_text(page) for page in reader.pages)


class _ReferenceText:
    """Collects a page's text from pypdf, comparing font size and height of each piece."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = self._height = 0.0

    def extract_text(self, page: pypdf.PageObject) -> str:
        page.extract_text(visitor_text=self._visit)
        return "".join(self._parts)

    def _visit(self, text: str, _cm: list[float], tm: list[float], _font: object, font_size: float) -> None:
        size, height = abs(font_size * tm[3]) or font_size, tm[5]
        last = next((part for part in reversed(self._parts) if part), "")
        is_small = size < _SUPERSCRIPT_SIZE * self._size and height - self._height > _SUPERSCRIPT_HEIGHT * self._size
        if text[:1].isdigit() and last[-1:].isdigit() and is_small:
            self._parts.append("^")
        self._parts.append(text)
        if text.strip():
            self._size, self._height = size, height
