"""Documents as blocks under their headings: Markdown, plain text, HTML and tables.

Owns how each format shows its structure. Pure: bytes are decoded, and PDF is read, by whoever calls.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser

from fine_tune_assets.retrieval.documents import Block, DocumentFault, UnreadableDocumentError

_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*$")
_RULE = re.compile(r"\s*\|?\s*:?-{3,}:?\s*(\|\s*:?-{3,}:?\s*)*\|?\s*$")
_FENCE = re.compile(r"\s*(```|~~~)")
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_HIDDEN = frozenset(
    {"script", "style", "head", "template", "noscript", "del", "iframe", "object", "svg", "math", "nav"}
)
_BREAKS = frozenset({
    "p", "div", "section", "article", "header", "footer", "main", "ul", "ol", "dl", "dt", "dd", "table", "pre", "blockquote",
})  # fmt: skip
_MOST_ROWS = 100_000


def blocks_of_markdown(text: str) -> list[Block]:
    path, blocks, lines, fenced = _Path(), list[Block](), list[str](), False
    for line in [*text.splitlines(), ""]:
        fenced ^= _FENCE.match(line) is not None
        heading = None if fenced else _HEADING.match(line)
        if heading or (not line.strip() and not fenced):
            blocks += _of_lines(lines, path.now)
            lines = []
        else:
            lines.append(line)
        if heading:
            path.enter(len(heading[1]), heading[2])
    return [*blocks, *_of_lines(lines, path.now)]


def blocks_of_text(text: str) -> list[Block]:
    """Paragraphs: what empty lines part."""
    return [Block(_one_line(part)) for part in re.split(r"\n\s*\n", text) if part.strip()]


def blocks_of_rows(rows: Sequence[Sequence[str]], headings: tuple[str, ...] = ()) -> list[Block]:
    """The first row is the header. Each other one becomes `name: value; …`, so that a cell never stands without its name."""
    if not rows:
        return []
    names = [_one_line(name) for name in rows[0]]
    header = " | ".join(name for name in names if name)
    return [Block(_row(names, row), headings, header) for row in rows[1:] if any(cell.strip() for cell in row)]


def blocks_of_csv(text: str) -> list[Block]:
    """Raises UnreadableDocumentError if rows have other numbers of cells than the header."""
    try:
        delimiter = csv.Sniffer().sniff(text[:4096], ",;\t|").delimiter
    except csv.Error:
        delimiter = ","
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter, strict=True) if row]
    except csv.Error:
        raise UnreadableDocumentError(DocumentFault.BAD_TABLE, "It is no CSV: a quote is not closed.") from None
    uneven = sum(1 for row in rows if len(row) != len(rows[0]))
    if uneven or len(rows) > _MOST_ROWS:
        why = f"{uneven} rows have other cells than the header" if uneven else f"It has more than {_MOST_ROWS} rows"
        raise UnreadableDocumentError(DocumentFault.BAD_TABLE, f"{why}.")
    return blocks_of_rows(rows)


def blocks_of_html(text: str) -> list[Block]:
    page = _Page()
    page.feed(text)
    page.close()
    return page.finished()


class _Path:
    """The headings above the present place."""

    def __init__(self) -> None:
        self._levels: list[tuple[int, str]] = []

    def enter(self, level: int, heading: str) -> None:
        self._levels = [(one, text) for one, text in self._levels if one < level]
        if heading.strip():
            self._levels.append((level, _one_line(heading)))

    @property
    def now(self) -> tuple[str, ...]:
        return tuple(text for _, text in self._levels)


def _of_lines(lines: Sequence[str], headings: tuple[str, ...]) -> Iterator[Block]:
    if len(lines) > 1 and "|" in lines[0] and _RULE.match(lines[1]):
        yield from blocks_of_rows([_cells(line) for line in (lines[0], *lines[2:])], headings)
    elif lines:
        yield Block("\n".join(line.strip() for line in lines), headings)


def _cells(line: str) -> list[str]:
    return [cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def _row(names: Sequence[str], row: Sequence[str]) -> str:
    padded = [*names, *[""] * (len(row) - len(names))]
    pairs = [(name, _one_line(cell)) for name, cell in zip(padded, row, strict=False) if cell.strip()]
    return "; ".join(f"{name}: {cell}" if name else cell for name, cell in pairs)


def _one_line(text: str) -> str:
    return " ".join(text.split())


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._path, self._blocks, self._parts = _Path(), list[Block](), list[str]()
        self._hidden: list[str] = []
        self._rows: list[list[str]] | None = None
        self._is_in_cell = False

    def finished(self) -> list[Block]:
        self._end_table()
        return self._blocks

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag in _HIDDEN:
            self._hidden.append(tag)
        elif tag == "body":
            self._hidden.clear()  # of a head that was never closed
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
        elif tag in _HEADINGS or tag in _BREAKS:
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
        elif tag in _BREAKS and not self._is_in_cell:
            self._end_block()

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._parts.append(re.sub(r"\s+", " ", data))

    def _end_block(self) -> None:
        lines = [_one_line(line) for line in "".join(self._parts).split("\n")]
        text = "\n".join(line for line in lines if line and line != "-")
        if text:
            self._blocks.append(Block(text, self._path.now))
        self._parts = []

    def _end_cell(self) -> None:
        """Its end may be left out, as that of a row."""
        if self._rows and self._is_in_cell:
            self._rows[-1].append(_one_line("".join(self._parts)))
            self._parts, self._is_in_cell = [], False

    def _end_table(self) -> None:
        self._end_cell()
        self._end_block()
        rows, self._rows, self._is_in_cell = [row for row in self._rows or [] if row], None, False
        if len(rows) == 1:  # no header: mail and word processors lay out text so
            text = "; ".join(cell for cell in rows[0] if cell)
            self._blocks += [Block(text, self._path.now)] if text else []
        else:
            self._blocks += blocks_of_rows(rows, self._path.now)
