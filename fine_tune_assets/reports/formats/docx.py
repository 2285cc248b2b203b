"""Word documents (DOCX).

Owns which parts of a document are text: its body with tables, text boxes, content controls and tracked insertions, headers,
footers, footnotes and endnotes. python-docx opens the package; its own `paragraph.text` leaves out content controls, tracked
insertions and text boxes without a word, so the elements are walked here. What was deleted in tracked changes is no text.
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

from fine_tune_assets.reports.facts import Found
from fine_tune_assets.reports.text_cleanup import SYMBOLS, one_line, tidy
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_OLD_OFFICE_OR_ENCRYPTED = b"\xd0\xcf\x11\xe0"
_MOST_UNPACKED_BYTES = 500_000_000
_FEWEST_CHARACTERS = 100
"""A document with a picture and less text than this holds a scan below its letterhead."""
_BEFORE, _AFTER = ("header",), ("footer", "footnotes", "endnotes")
_SKIPPED = frozenset({f"{_W}del", f"{_W}moveFrom", f"{_W}instrText", f"{_W}delText", _FALLBACK, f"{_W}pPr", f"{_W}rPr"})


def read_docx(content: bytes) -> Found:
    """The report in a Word document. Raises UnreadableError."""
    if content.startswith(_OLD_OFFICE_OR_ENCRYPTED):
        raise UnreadableError(
            Reason.ENCRYPTED,
            "It is protected by a password, or of Word before 2007. Save it as DOCX without a password.",
        )
    try:
        _check_size(content)
        document = docx.Document(BytesIO(content))
    except (OpcError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UnreadableError(Reason.CORRUPT_FILE, "It is no DOCX file, or a damaged one. Save it again.") from error
    parts = {str(part.partname): part for part in _text_parts(document.part)}
    before = [_text_of(part) for name, part in sorted(parts.items()) if _is_one_of(name, _BEFORE)]
    after = [_text_of(part) for name, part in sorted(parts.items()) if _is_one_of(name, _AFTER)]
    body = _blocks(document.element.body)
    text = "\n\n".join(text for text in [*before, tidy("\n".join(body)), *after] if text)
    if len("".join(text.split())) < _FEWEST_CHARACTERS and _has_picture(document.part):
        raise UnreadableError(Reason.NO_TEXT_LAYER, "Its text is a picture. Save it as PDF, or export text.")
    return Found(text, evidence=_other_route(content, ["/" + str(document.part.partname).lstrip("/"), *parts]))


def _has_picture(main: Any) -> bool:
    return any("/image" in relation.reltype for relation in main.rels.values())


def _check_size(content: bytes) -> None:
    with zipfile.ZipFile(BytesIO(content)) as package:
        unpacked = sum(entry.file_size for entry in package.infolist())
    if unpacked > _MOST_UNPACKED_BYTES:
        raise UnreadableError(Reason.TOO_LARGE, f"It unpacks to more than {_MOST_UNPACKED_BYTES} bytes. Split it.")


def _text_parts(main: Any) -> Iterator[Any]:
    for relation in main.rels.values():
        if not relation.is_external and _is_one_of(str(relation.target_part.partname), (*_BEFORE, *_AFTER)):
            yield relation.target_part


def _is_one_of(name: str, kinds: tuple[str, ...]) -> bool:
    return re.fullmatch(rf".*/({'|'.join(kinds)})\d*\.xml", name) is not None


def _text_of(part: Any) -> str:
    element = part.element if hasattr(part, "element") else parse_xml(part.blob)
    return tidy("\n".join(_blocks(element)))


def _blocks(element: Any) -> Iterator[str]:
    """A line for each paragraph and each row of a table, at whatever depth they stand."""
    for child in element:
        if child.tag in _SKIPPED or _is_separator(child):
            continue
        if child.tag == f"{_W}p":
            yield from _paragraph(child)
        elif child.tag == f"{_W}tbl":
            yield ""
            yield from _rows(child)
            yield ""
        else:
            yield from _blocks(child)


def _is_separator(note: Any) -> bool:
    return note.tag in (f"{_W}footnote", f"{_W}endnote") and note.get(f"{_W}type") not in (None, "normal")


def _paragraph(paragraph: Any) -> Iterator[str]:
    inside: list[Any] = []
    line = "".join(_runs(paragraph, inside))
    style = paragraph.find(f"{_W}pPr/{_W}pStyle")
    is_heading = style is not None and "heading" in str(style.get(f"{_W}val")).lower()
    if is_heading:
        yield ""
    yield from re.sub(r"\^{2,}", "^", line).split("\n")
    if is_heading:
        yield ""
    for box in inside:
        yield from _blocks(box)


def _rows(table: Any) -> Iterator[str]:
    for row in table.iter(f"{_W}tr"):
        if next((a for a in row.iterancestors(f"{_W}tbl")), None) is not table:
            continue  # of a table in a cell: it comes with its cell
        cells = [list(_blocks(cell)) for cell in row.iter(f"{_W}tc") if next(cell.iterancestors(f"{_W}tr")) is row]
        filled = [cell for cell in cells if any(line.strip() for line in cell)]
        if len(filled) == 1 or any(len([line for line in cell if line.strip()]) > 3 for cell in filled):
            for cell in filled:  # a table that only lays the page out
                yield from cell
        else:
            yield " | ".join(one_line(" ".join(cell)) for cell in cells)


def _runs(element: Any, boxes: list[Any]) -> Iterator[str]:
    for child in element:
        tag = child.tag
        if tag in _SKIPPED:
            continue
        if tag == f"{_W}txbxContent":
            boxes.append(child)
        elif tag == f"{_M}t":
            yield child.text or ""
        elif tag == f"{_W}t":
            yield ("^" if _is_raised(child) else "") + (child.text or "")
        elif tag in (f"{_W}tab", f"{_W}ptab"):
            yield "\t"
        elif tag in (f"{_W}br", f"{_W}cr"):
            yield "\n"
        elif tag == f"{_W}noBreakHyphen":
            yield "-"
        elif tag == f"{_W}sym":
            yield _symbol(child.get(f"{_W}char"))
        else:
            yield from _runs(child, boxes)


def _symbol(code: str | None) -> str:
    """A sign that was inserted from a font for signs; its code may stand with or without the font's offset."""
    try:
        number = int(str(code), 16) & 0xFF
    except ValueError:
        return "\ufffd"
    return SYMBOLS.get(number, "\ufffd")


def _is_raised(text: Any) -> bool:
    """10⁹ as a 9 that stands higher: without a sign it would read 109."""
    style = text.getparent().find(f"{_W}rPr/{_W}vertAlign")
    return style is not None and style.get(f"{_W}val") == "superscript" and (text.text or "")[:1].lstrip("-−").isdigit()


def _other_route(content: bytes, names: list[str]) -> str:
    """The text nodes of the same parts, by expat from the archive itself."""
    with zipfile.ZipFile(BytesIO(content)) as package:
        return "\n".join(_TextNodes().text_of(package.read(name.lstrip("/"))) for name in names)


class _TextNodes:
    """Text of `w:t` in the order of the file; a blank where a paragraph, cell or line ends."""

    _HIDDEN = frozenset({f"{_W}del", f"{_W}moveFrom", _FALLBACK})
    _BREAKING = frozenset(_W + name for name in ("p", "tc", "br", "tab", "cr"))
    _TEXT = frozenset({f"{_W}t", f"{_M}t"})

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._hidden = 0
        self._is_text = self._is_raised = False

    def text_of(self, xml: bytes) -> str:
        parser = expat.ParserCreate(namespace_separator="}")
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._data
        parser.StartDoctypeDeclHandler = self._refuse
        parser.Parse(xml, True)
        return "".join(self._parts)

    def _refuse(self, *_: Any) -> None:
        raise UnreadableError(Reason.CORRUPT_FILE, "It declares entities, as no office program does. Save it again.")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = "{" + name
        self._hidden += name in self._HIDDEN
        self._is_text = name in self._TEXT
        if name == f"{_W}r":
            self._is_raised = False
        elif name == f"{_W}vertAlign":
            self._is_raised = attributes.get(_W[1:] + "val") == "superscript"
        elif self._hidden:
            return
        elif name == f"{_W}t" and self._is_raised:
            self._parts.append("^")
        elif name == f"{_W}noBreakHyphen":
            self._parts.append("-")
        elif name == f"{_W}sym":
            self._parts.append(_symbol(attributes.get(_W[1:] + "char")))

    def _end(self, name: str) -> None:
        name = "{" + name
        self._hidden -= name in self._HIDDEN
        self._is_text = False
        if name in self._BREAKING:
            self._parts.append(" ")

    def _data(self, text: str) -> None:
        if self._is_text and not self._hidden:
            self._parts.append(text)
