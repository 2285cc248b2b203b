"""Marks the headings of an RTF document: paragraphs with a heading style or outline level, and paragraphs of bold text alone."""

import re
from dataclasses import dataclass, field

from fine_tune_assets.reports.heading_marks import BOLD_LEVEL, TITLE_LEVEL, format_mark

TOKEN = re.compile(r"\\'([0-9a-fA-F]{2})|\\u(-?\d+)[ ]?|\\([a-zA-Z]+)(-?\d+)?[ ]?|\\([^a-zA-Z])|([{}])|([^\\{}]+)")
_SKIPPED = frozenset(
    "fonttbl colortbl info pict object fldinst listtable listoverridetable listtext pntext generator themedata".split()  # noqa: SIM905
)
_STYLE_NAME = re.compile(r"\bheading ?([1-9])(?![0-9])|^[ ]*title;?[ ]*$", re.IGNORECASE)
_ENDS = frozenset({"par", "sect", "page"})
_CELL_ENDS = frozenset({"cell", "nestcell", "row"})
_BODY_TEXT = 9


@dataclass
class _Group:
    """State that ends with its group."""

    is_skipped: bool = False
    is_stylesheet: bool = False
    is_bold: bool = False


@dataclass
class _Paragraph:
    start: int | None = None
    """Offset of its first visible character."""
    is_bold: bool = True


@dataclass
class _Reader:
    levels: dict[int, int] = field(default_factory=dict)
    """Number of a style → level."""
    groups: list[_Group] = field(default_factory=lambda: [_Group()])
    paragraph: _Paragraph = field(default_factory=_Paragraph)
    level: int | None = None
    """Level of the paragraph by style; None for text."""
    style: int = 0
    """Number of the style that the stylesheet describes."""
    marks: list[tuple[int, int]] = field(default_factory=list)
    """Offset and level of each heading."""

    def read(self, match: re.Match[str]) -> None:
        hexed, code, word, number, sign, brace, plain = match.groups(default="")
        group = self.groups[-1]
        if brace == "{":
            self.groups.append(_Group(group.is_skipped, group.is_stylesheet, group.is_bold))
        elif brace:
            del self.groups[max(1, len(self.groups) - 1) :]
        elif sign == "*" and not group.is_stylesheet:
            group.is_skipped = True
        elif word:
            self._read_word(word, number)
        elif group.is_stylesheet:
            self._name_style(plain)
        elif not group.is_skipped and (hexed or code or (plain or sign).strip()):
            self._read_text(match.start() + len(plain) - len(plain.lstrip()))

    def _read_word(self, word: str, number: str) -> None:
        group = self.groups[-1]
        if word == "stylesheet":
            group.is_stylesheet = True
        elif word in ("shpinst", "footnote", "shppict"):
            group.is_skipped = False
        elif word in _SKIPPED:
            group.is_skipped = True
        elif word == "s" and group.is_stylesheet:
            self.style = int(number or 0)
        elif word == "outlinelevel" and group.is_stylesheet:
            if int(number or 0) < _BODY_TEXT:
                self.levels[self.style] = int(number or 0) + 1
        elif not group.is_skipped and not group.is_stylesheet:
            self._format(word, number)

    def _format(self, word: str, number: str) -> None:
        if word in _ENDS or word in _CELL_ENDS:
            self._end_paragraph(is_cell=word in _CELL_ENDS)
        elif word == "pard":
            self.level = None
        elif word == "s":
            self.level = self.levels.get(int(number or 0))
        elif word == "outlinelevel":
            self.level = int(number or 0) + 1 if int(number or 0) < _BODY_TEXT else None
        elif word in ("b", "plain"):
            self.groups[-1].is_bold = word == "b" and number != "0"

    def _name_style(self, plain: str) -> None:
        named = _STYLE_NAME.search(plain)
        if named is not None:
            self.levels[self.style] = int(named[1]) if named[1] else TITLE_LEVEL

    def _read_text(self, start: int) -> None:
        if self.paragraph.start is None:
            self.paragraph.start = start
        self.paragraph.is_bold &= self.groups[-1].is_bold

    def _end_paragraph(self, *, is_cell: bool) -> None:
        level = BOLD_LEVEL if self.level is None and self.paragraph.is_bold else self.level
        if self.paragraph.start is not None and level is not None and not is_cell:
            self.marks.append((self.paragraph.start, level))
        self.paragraph = _Paragraph()


def mark_rtf_headings(raw: str) -> str:
    """The document with a mark before each heading."""
    reader = _Reader()
    for match in TOKEN.finditer(raw):
        reader.read(match)
    reader._end_paragraph(is_cell=False)
    parts, at = list[str](), 0
    for start, level in reader.marks:
        parts += [raw[at:start], format_mark(level)]
        at = start
    return "".join([*parts, raw[at:]])
