"""Word documents (DOCX).

Reads the body with tables, text boxes, content controls and tracked insertions, plus headers, footers, footnotes and endnotes.
Walks the XML elements because python-docx's `paragraph.text` silently omits content controls, tracked insertions and text boxes.
Tracked deletions are skipped.
"""

import re
import zipfile
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from xml.parsers import expat

import docx
from docx.opc.exceptions import OpcError
from docx.oxml import parse_xml

from fine_tune_assets.reports.formats.docx_styles import DocumentStyles, read_styles
from fine_tune_assets.reports.heading_marks import format_mark, remove_marks
from fine_tune_assets.reports.report_metadata import ParsedReport
from fine_tune_assets.reports.text_cleanup import SYMBOL_FONT, collapse_whitespace, normalize_marked
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_OLE_SIGNATURE = b"\xd0\xcf\x11\xe0"
_MAX_UNPACKED_BYTES = 500_000_000
_MIN_CHARACTERS = 100
"""A document with a picture and fewer characters is taken for a scan below a letterhead."""
_PARTS_BEFORE_BODY, _PARTS_AFTER_BODY = ("header",), ("footer", "footnotes", "endnotes")
_SKIPPED = frozenset({f"{_W}del", f"{_W}moveFrom", f"{_W}instrText", f"{_W}delText", _FALLBACK, f"{_W}pPr", f"{_W}rPr"})


def read_docx(content: bytes) -> ParsedReport:
    """Raises UnreadableError."""
    if content.startswith(_OLE_SIGNATURE):
        raise UnreadableError(
            UnreadableReason.ENCRYPTED,
            "The file is password-protected or older than Word 2007. Save it as DOCX without a password.",
        )
    try:
        _check_size(content)
        document = docx.Document(BytesIO(content))
    except (OpcError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UnreadableError(
            UnreadableReason.CORRUPT_FILE, "The file is not a valid DOCX file. Save it again."
        ) from error
    styles = read_styles(document)
    parts = {str(part.partname): part for part in _iter_text_parts(document.part)}
    before, after = (
        [_read_part_text(part, styles) for name, part in sorted(parts.items()) if _is_part_of_kind(name, kinds)]
        for kinds in (_PARTS_BEFORE_BODY, _PARTS_AFTER_BODY)
    )
    body = normalize_marked("\n".join(_iter_lines(document.element.body, styles)))
    text = "\n\n".join(text for text in [*before, body, *after] if text)
    if len("".join(remove_marks(text).split())) < _MIN_CHARACTERS and _has_picture(document.part):
        raise UnreadableError(
            UnreadableReason.NO_TEXT_LAYER, "The text is a picture. Save the file as PDF, or export text."
        )
    return ParsedReport.from_marked(
        text, reference_text=_read_reference_text(content, ["/" + str(document.part.partname).lstrip("/"), *parts])
    )


def _has_picture(main: Any) -> bool:
    return any("/image" in relation.reltype for relation in main.rels.values())


def _check_size(content: bytes) -> None:
    with zipfile.ZipFile(BytesIO(content)) as package:
        unpacked = sum(entry.file_size for entry in package.infolist())
    if unpacked > _MAX_UNPACKED_BYTES:
        raise UnreadableError(
            UnreadableReason.TOO_LARGE, f"The file unpacks to more than {_MAX_UNPACKED_BYTES} bytes. Split it."
        )


def _iter_text_parts(main: Any) -> Iterator[Any]:
    for relation in main.rels.values():
        if not relation.is_external and _is_part_of_kind(
            str(relation.target_part.partname), (*_PARTS_BEFORE_BODY, *_PARTS_AFTER_BODY)
        ):
            yield relation.target_part


def _is_part_of_kind(name: str, kinds: tuple[str, ...]) -> bool:
    return re.fullmatch(rf".*/({'|'.join(kinds)})\d*\.xml", name) is not None


def _read_part_text(part: Any, styles: DocumentStyles) -> str:
    element = part.element if hasattr(part, "element") else parse_xml(part.blob)
    return normalize_marked("\n".join(_iter_lines(element, styles)))


def _iter_lines(element: Any, styles: DocumentStyles) -> Iterator[str]:
    """One line per paragraph and table row, at any nesting depth. Headings are marked."""
    for child in element:
        if child.tag in _SKIPPED or _is_separator(child):
            continue
        if child.tag == f"{_W}p":
            yield from _iter_paragraph_lines(child, styles)
        elif child.tag == f"{_W}tbl":
            yield ""
            yield from _iter_table_rows(child, styles)
            yield ""
        else:
            yield from _iter_lines(child, styles)


def _is_separator(note: Any) -> bool:
    return note.tag in (f"{_W}footnote", f"{_W}endnote") and note.get(f"{_W}type") not in (None, "normal")


def _iter_paragraph_lines(paragraph: Any, styles: DocumentStyles) -> Iterator[str]:
    inside: list[Any] = []
    line = remove_marks("".join(_iter_runs(paragraph, inside)))
    is_spaced, level = styles.has_heading_style(paragraph), styles.find_level(paragraph)
    if is_spaced:
        yield ""
    first, *others = re.sub(r"\^{2,}", "^", line.lstrip("\n") if level is not None else line).split("\n")
    yield first if level is None or not first.strip() else f"{format_mark(level)}{first}"
    yield from others
    if is_spaced:
        yield ""
    for box in inside:
        yield from _iter_lines(box, styles)


def _iter_table_rows(table: Any, styles: DocumentStyles) -> Iterator[str]:
    for row in table.iter(f"{_W}tr"):
        if next((a for a in row.iterancestors(f"{_W}tbl")), None) is not table:
            continue  # a nested table, yielded with its cell
        cells = [
            list(_iter_lines(cell, styles))
            for cell in row.iter(f"{_W}tc")
            if next(cell.iterancestors(f"{_W}tr")) is row
        ]
        filled = [cell for cell in cells if any(line.strip() for line in cell)]
        if len(filled) == 1 or any(len([line for line in cell if line.strip()]) > 3 for cell in filled):
            for cell in filled:  # a layout table
                yield from cell
        else:
            yield " | ".join(collapse_whitespace(remove_marks(" ".join(cell))) for cell in cells)


def _iter_runs(element: Any, boxes: list[Any]) -> Iterator[str]:
    for child in element:
        tag = child.tag
        if tag in _SKIPPED:
            continue
        if tag == f"{_W}txbxContent":
            boxes.append(child)
        elif tag == f"{_M}t":
            yield child.text or ""
        elif tag == f"{_W}t":
            yield ("^" if _is_superscript(child) else "") + (child.text or "")
        elif tag in (f"{_W}tab", f"{_W}ptab"):
            yield "\t"
        elif tag in (f"{_W}br", f"{_W}cr"):
            yield "\n"
        elif tag == f"{_W}noBreakHyphen":
            yield "-"
        elif tag == f"{_W}sym":
            yield _decode_symbol(child.get(f"{_W}char"))
        else:
            yield from _iter_runs(child, boxes)


def _decode_symbol(code: str | None) -> str:
    """Decode a character inserted from a symbol font; its code may or may not include the font's offset."""
    try:
        number = int(str(code), 16) & 0xFF
    except ValueError:
        return "\ufffd"
    return SYMBOL_FONT.get(number, "\ufffd")


def _is_superscript(text: Any) -> bool:
    """Whether a digit is raised: without a ^, 10⁹ would read as 109."""
    style = text.getparent().find(f"{_W}rPr/{_W}vertAlign")
    return style is not None and style.get(f"{_W}val") == "superscript" and (text.text or "")[:1].lstrip("-−").isdigit()


def _read_reference_text(content: bytes, names: list[str]) -> str:
    """The text nodes of the same parts, parsed by expat directly from the archive."""
    with zipfile.ZipFile(BytesIO(content)) as package:
        return "\n".join(_TextNodes().extract_text(package.read(name.lstrip("/"))) for name in names)


class _TextNodes:
    """Text of `w:t` in file order, with a blank at the end of each paragraph, cell and line."""

    _HIDDEN = frozenset({f"{_W}del", f"{_W}moveFrom", _FALLBACK})
    _BREAKING = frozenset(_W + name for name in ("p", "tc", "br", "tab", "cr"))
    _TEXT = frozenset({f"{_W}t", f"{_M}t"})

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._hidden = 0
        self._is_text = self._is_superscript = False

    def extract_text(self, xml: bytes) -> str:
        parser = expat.ParserCreate(namespace_separator="}")
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._data
        parser.StartDoctypeDeclHandler = self._refuse
        parser.Parse(xml, True)
        return "".join(self._parts)

    def _refuse(self, *_: Any) -> None:
        raise UnreadableError(
            UnreadableReason.CORRUPT_FILE, "The file declares XML entities, which DOCX does not allow. Save it again."
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = "{" + name
        self._hidden += name in self._HIDDEN
        self._is_text = name in self._TEXT
        if name == f"{_W}r":
            self._is_superscript = False
        elif name == f"{_W}vertAlign":
            self._is_superscript = attributes.get(_W[1:] + "val") == "superscript"
        elif self._hidden:
            return
        elif name == f"{_W}t" and self._is_superscript:
            self._parts.append("^")
        elif name == f"{_W}noBreakHyphen":
            self._parts.append("-")
        elif name == f"{_W}sym":
            self._parts.append(_decode_symbol(attributes.get(_W[1:] + "char")))

    def _end(self, name: str) -> None:
        name = "{" + name
        self._hidden -= name in self._HIDDEN
        self._is_text = False
        if name in self._BREAKING:
            self._parts.append(" ")

    def _data(self, text: str) -> None:
        if self._is_text and not self._hidden:
            self._parts.append(text)
