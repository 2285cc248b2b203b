"""PDF documents: the text layer, and OCR for pages that are pictures.

Owns when a page counts as a picture. PDFium reads (permissive licence, the order of Chrome); pypdf is the other route, which
shares no code with it. In a PDF a raised digit is only a smaller one: without a look at sizes 10⁹ would read 109.
"""

import ctypes
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import pypdf
import pypdfium2
import pypdfium2.raw as pdfium

from fine_tune_assets.reports.facts import Found
from fine_tune_assets.reports.ocr import DOTS_PER_INCH, OcrProgram
from fine_tune_assets.reports.text_cleanup import tidy
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError

_MOST_PAGES = 2_000
_MOST_PIXELS = 50_000_000
_PICTURE_FRACTION = 0.5
_STAMP_CHARACTERS = 100
"""A page with a large picture and less text than this holds a scan with a stamp such as "Page 1 of 2"."""
_POINTS_PER_INCH = 72
_HYPHENS = frozenset({0x2, 0xFFFE})
"""What PDFium makes of a hyphen at the end of a line."""
_LINE_ENDS = frozenset({0xA, 0xD})
_RAISED_SIZE, _RAISED_HEIGHT = 0.85, 0.15


@dataclass(frozen=True)
class _Page:
    text: str
    is_picture: bool


def read_pdf(content: bytes, ocr: OcrProgram | None) -> Found:
    """The report in a PDF. Raises UnreadableError."""
    document = _opened(content)
    try:
        if len(document) > _MOST_PAGES:
            raise UnreadableError(Reason.TOO_LARGE, f"It has more than {_MOST_PAGES} pages. Split it.")
        pages = [_page(document, number) for number in range(len(document))]
        pictures = [number for number, page in enumerate(pages) if page.is_picture]
        if pictures and ocr is None:
            raise UnreadableError(
                Reason.NO_TEXT_LAYER,
                f"{len(pictures)} of its {len(pages)} pages are pictures without text. Install tesseract, or export text.",
            )
        texts = [page.text for page in pages]
        for number in pictures:
            assert ocr is not None
            texts[number] = "\n\n".join(part for part in (texts[number], ocr.read(_png(document, number))) if part)
    finally:
        document.close()
    text = "\n\n".join(text for text in texts if text)
    if not text.strip():
        raise UnreadableError(Reason.EMPTY, "There is no text on its pages.")
    return Found(text, evidence=_other_route(content), is_all_evidence=False)


def _opened(content: bytes) -> pypdfium2.PdfDocument:
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if error.err_code in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY):
            raise UnreadableError(Reason.ENCRYPTED, "It is protected by a password. Save it without one.") from error
        raise UnreadableError(Reason.CORRUPT_FILE, "It is no PDF, or a damaged one. Export it again.") from error
    document.init_forms()
    return document


def _page(document: pypdfium2.PdfDocument, number: int) -> _Page:
    page = document[number]
    # What was typed into a form or stamped onto the page is no text of the page before it is flattened.
    if pdfium.FPDFPage_Flatten(page.raw, pdfium.FLAT_NORMALDISPLAY) == pdfium.FLATTEN_SUCCESS:
        page.close()
        page = document[number]
    text = tidy("".join(_characters(page.get_textpage())))
    characters = len("".join(text.split()))
    found = _Page(text, is_picture=characters < _STAMP_CHARACTERS and _covered(page, characters == 0))
    page.close()
    return found


def _characters(text: pypdfium2.PdfTextPage) -> Iterator[str]:
    before, is_raised = "", False
    for number in range(text.count_chars()):
        code = pdfium.FPDFText_GetUnicode(text.raw, number)
        character = "-" if code in _HYPHENS else chr(code) if 0 < code < 0x110000 else ""
        if is_raised and character in ("\r", "\n") and _goes_on(text, number):
            continue  # PDFium takes the way down from a raised digit for the end of a line
        if character.isdigit() and before.isdigit() and _is_raised(text, number):
            is_raised = True
            yield "^"
        elif character not in ("\r", "\n"):
            is_raised = is_raised and character.isdigit()
        yield character
        before = character


def _goes_on(text: pypdfium2.PdfTextPage, number: int) -> bool:
    """Whether what follows a line break stands to the right of what is before it."""
    ends = [number + step for step in (-2, -1, 1, 2) if 0 <= number + step < text.count_chars()]
    places = {at: _origin(text, at) for at in ends if pdfium.FPDFText_GetUnicode(text.raw, at) not in _LINE_ENDS}
    left = [place for at, place in places.items() if at < number]
    right = [place for at, place in places.items() if at > number]
    return bool(left and right) and right[0][0] > left[-1][0]


def _origin(text: pypdfium2.PdfTextPage, number: int) -> tuple[float, float]:
    x, y = ctypes.c_double(), ctypes.c_double()
    pdfium.FPDFText_GetCharOrigin(text.raw, number, x, y)
    return x.value, y.value


def _is_raised(text: pypdfium2.PdfTextPage, number: int) -> bool:
    """Whether a character is smaller than the one before it and stands higher."""
    small, size = (pdfium.FPDFText_GetFontSize(text.raw, at) for at in (number, number - 1))
    higher = _origin(text, number)[1] - _origin(text, number - 1)[1]
    return small < _RAISED_SIZE * size and higher > _RAISED_HEIGHT * size


def _covered(page: pypdfium2.PdfPage, has_no_text: bool) -> bool:
    """Whether a picture fills the page; or, on a page without any text, whether there is anything at all."""
    width, height = page.get_size()
    boxes = [item.get_bounds() for item in page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE], max_depth=5)]
    largest = max(((right - left) * (top - bottom) for left, bottom, right, top in boxes), default=0.0)
    if has_no_text and next(iter(page.get_objects(max_depth=5)), None) is not None:
        return True
    return largest >= _PICTURE_FRACTION * width * height


def _png(document: pypdfium2.PdfDocument, number: int) -> bytes:
    page = document[number]
    width, height = page.get_size()
    scale = DOTS_PER_INCH / _POINTS_PER_INCH
    if width * height * scale * scale > _MOST_PIXELS:
        raise UnreadableError(Reason.TOO_LARGE, "A scanned page of it is larger than a poster. Scan it page by page.")
    buffer = io.BytesIO()
    page.render(scale=scale, grayscale=True).to_pil().save(buffer, format="PNG")
    return buffer.getvalue()


def _other_route(content: bytes) -> str:
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    reader = pypdf.PdfReader(io.BytesIO(content))
    return "\n\n".join(_Fragments().text_of(page) for page in reader.pages)


class _Fragments:
    """Text of a page as pypdf's own pieces, each with its size and height."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = self._height = 0.0

    def text_of(self, page: pypdf.PageObject) -> str:
        page.extract_text(visitor_text=self._visit)
        return "".join(self._parts)

    def _visit(self, text: str, _cm: list[float], tm: list[float], _font: object, font_size: float) -> None:
        size, height = abs(font_size * tm[3]) or font_size, tm[5]
        last = next((part for part in reversed(self._parts) if part), "")
        is_small = size < _RAISED_SIZE * self._size and height - self._height > _RAISED_HEIGHT * self._size
        if text[:1].isdigit() and last[-1:].isdigit() and is_small:
            self._parts.append("^")
        self._parts.append(text)
        if text.strip():
            self._size, self._height = size, height
