"""Splits Markdown, plain text, HTML and tables into blocks under their headings.

Pure: the caller decodes bytes and reads PDF.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.retrieval.documents import Block, DocumentFault, UnreadableDocumentError

_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*$")
_TABLE_RULE = compile_bounded(r"\s*\|?\s*:?-{3,}:?\s*(\|\s*:?-{3,}:?\s*)*\|?\s*$")
_FENCE = compile_bounded(r"\s*(```|~~~)")
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_HIDDEN_TAGS = frozenset(
    {"script", "style", "head", "template", "noscript", "del", "iframe", "object", "svg", "math", "nav"}
)
_BLOCK_TAGS = frozenset({
    "p", "div", "section", "article", "header", "footer", "main", "ul", "ol", "dl", "dt", "dd", "table", "pre", "blockquote",
})  # fmt: skip
_MAX_ROWS = 100_000


def parse_markdown(text: str) -> list[Block]:
    path, blocks, lines, fenced = _HeadingPath(), list[Block](), list[str](), False
    for line in [*text.splitlines(), ""]:
        fenced ^= _FENCE.match(line) is not None
        heading = None if fenced else _HEADING.match(line)
        if heading or (not line.strip() and not fenced):
            blocks += _parse_lines(lines, path.current)
            lines = []
        else:
            lines.append(line)
        if heading:
            path.enter(len(heading[1]), heading[2])
    return [*blocks, *_parse_lines(lines, path.current)]


def parse_plain_text(text: str) -> list[Block]:
    """Split at empty lines."""
    return [Block(_collapse_spaces(part)) for part in re.split(r"\n\s*\n", text) if part.strip()]


def rows_to_blocks(rows: Sequence[Sequence[str]], headings: tuple[str, ...] = ()) -> list[Block]:
    """Turn each row below the header into `name: value; …`, so that a cell always has its column name."""
    if not rows:
        return []
    names = [_collapse_spaces(name) for name in rows[0]]
    header = " | ".join(name for name in names if name)
    return [Block(_format_row(names, row), headings, header) for row in rows[1:] if any(cell.strip() for cell in row)]


def parse_csv(text: str) -> list[Block]:
    """Raises UnreadableDocumentError if rows differ from the header in length."""
    try:
        delimiter = csv.Sniffer().sniff(text[:4096], ",;\t|").delimiter
    except csv.Error:
        delimiter = ","
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter, strict=True) if row]
    except csv.Error:
        raise UnreadableDocumentError(DocumentFault.INVALID_TABLE, "Invalid CSV: a quote is not closed.") from None
    uneven = sum(1 for row in rows if len(row) != len(rows[0]))
    if uneven or len(rows) > _MAX_ROWS:
        reason = (
            f"{uneven} rows differ from the header in length" if uneven else f"the table has more than {_MAX_ROWS} rows"
        )
        raise UnreadableDocumentError(DocumentFault.INVALID_TABLE, f"Invalid table: {reason}.")
    return rows_to_blocks(rows)


def parse_html(text: str) -> list[Block]:
    page = _PageParser()
    page.feed(text)
    page.close()
    return page.finish()


class _HeadingPath:
    """The headings above the current position."""

    def __init__(self) -> None:
        self._levels: list[tuple[int, str]] = []

    def enter(self, level: int, heading: str) -> None:
        self._levels = [(one, text) for one, text in self._levels if one < level]
        if heading.strip():
            self._levels.append((level, _collapse_spaces(heading)))

    @property
    def current(self) -> tuple[str, ...]:
        return tuple(text for _, text in self._levels)


def _parse_lines(lines: Sequence[str], headings: tuple[str, ...]) -> Iterator[Block]:
    if len(lines) > 1 and "|" in lines[0] and _TABLE_RULE.match(lines[1]):
        yield from rows_to_blocks([_split_cells(line) for line in (lines[0], *lines[2:])], headings)
    elif lines:
        yield Block("\n".join(line.strip() for line in lines), headings)


def _split_cells(line: str) -> list[str]:
    return [cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def _format_row(names: Sequence[str], row: Sequence[str]) -> str:
    padded = [*names, *[""] * (len(row) - len(names))]
    pairs = [(name, _collapse_spaces(cell)) for name, cell in zip(padded, row, strict=False) if cell.strip()]
    return "; ".join(f"{name}: {cell}" if name else cell for name, cell in pairs)


def _collapse_spaces(text: str) -> str:
    return " ".join(text.split())


class _PageParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._path, self._blocks, self._parts = _HeadingPath(), list[Block](), list[str]()
        self._hidden: list[str] = []
        self._rows: list[list[str]] | None = None
        self._is_in_cell = False

    def finish(self) -> list[Block]:
        self._end_table()
        return self._blocks

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag in _HIDDEN_TAGS:
            self._hidden.append(tag)
        elif tag == "body":
            self._hidden.clear()  # closes an unclosed head
        elif tag == "table":
            self._end_table()
            self._rows = []
        elif tag == "tr" and self._rows is not None:
            self._end_cell()
            self._end_block()
            self._rows.append([])
        elif tag in ("td", "th") and self._rows:
            self._end_cell()
            self._end_block()
            self._is_in_cell = True
        elif self._is_in_cell or tag == "br":
            self._parts.append(" ")
        elif tag in _HEADINGS or tag in _BLOCK_TAGS:
            self._end_block()
        elif tag == "li":
            self._parts.append("\n- " if self._parts else "- ")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._hidden:
            del self._hidden[self._hidden.index(tag) :]
        elif tag in ("td", "th") and self._rows:
            self._end_cell()
        elif tag == "table":
            self._end_table()
        elif tag in _HEADINGS and not self._is_in_cell:
            self._path.enter(_HEADINGS[tag], "".join(self._parts))
            self._parts = []
        elif tag in _BLOCK_TAGS and not self._is_in_cell:
            self._end_block()

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._parts.append(re.sub(r"\s+", " ", data))

    def _end_block(self) -> None:
        lines = [_collapse_spaces(line) for line in "".join(self._parts).split("\n")]
        text = "\n".join(line for line in lines if line and line != "-")
        if text:
            self._blocks.append(Block(text, self._path.current))
        self._parts = []

    def _end_cell(self) -> None:
        """Closing tags of cells and rows are optional in HTML."""
        if self._rows and self._is_in_cell:
            self._rows[-1].append(_collapse_spaces("".join(self._parts)))
            self._parts, self._is_in_cell = [], False

    def _end_table(self) -> None:
        self._end_cell()
        self._end_block()
        rows, self._rows, self._is_in_cell = [row for row in self._rows or [] if row], None, False
        if len(rows) == 1:  # no header: a layout table, as mail and word processors write it
            text = "; ".join(cell for cell in rows[0] if cell)
            self._blocks += [Block(text, self._path.current)] if text else []
        else:
            self._blocks += rows_to_blocks(rows, self._path.current)
