"""Text of marked-up documents (HTML and the narrative of C-CDA) from their tree of elements, by lxml.

Owns how blocks, lists, tables, line breaks and raised digits become plain text. Does not know where a document begins.
"""

import re
from collections.abc import Iterator
from typing import Any

from fine_tune_assets.reports.text_cleanup import one_line, tidy

_SKIPPED = frozenset(
    {"script", "style", "head", "template", "noscript", "del", "title", "iframe", "object", "svg", "math"}
)
_BLOCKS = frozenset(
    """address article aside blockquote body caption center dd details div dl dt fieldset figcaption figure footer form
    h1 h2 h3 h4 h5 h6 header hr html legend li list item main nav ol option p paragraph pre section summary table tbody
    tfoot thead tr ul""".split()  # noqa: SIM905
)
_SPACED = frozenset({"h1", "h2", "h3", "h4", "h5", "h6", "p", "paragraph", "table"})
_ITEMS = frozenset({"li", "item"})
_CELLS = frozenset({"td", "th"})
_BLOCK, _GAP, _LINE, _RAISED = "\x01", "\x02", "\x03", "\x04"
"""Begin or end of a block; of one with space around it; a line break; what follows is raised. None can stand in XML."""


def text_of(element: Any) -> str:
    """The text of an element of lxml, without what follows it."""
    return tidy("".join(_joined(_parts(element))))


def _joined(parts: Iterator[str]) -> Iterator[str]:
    """White space as a browser shows it; a raised digit behind a digit with a ^, since 10⁹ is not 109."""
    last, newlines, lines = "", 2, 0
    for part in parts:
        if part in (_BLOCK, _GAP):
            newlines = max(newlines, 1 if part == _BLOCK else 2)
        elif part == _LINE:
            lines += 1
        elif part == _RAISED:
            last = _RAISED if last[-1:].isdigit() and not newlines and not lines else last
        else:
            text = re.sub(r"[ \t\r\n\f]+", " ", part)
            is_raised, last = last == _RAISED, "" if last == _RAISED else last
            text = text.lstrip(" ") if newlines or lines or last.endswith(" ") else text
            if not text:
                continue
            yield "\n" * max(newlines, lines) + ("^" if is_raised and text[:1].lstrip("-−").isalnum() else "") + text
            last, newlines, lines = text, 0, 0


def _parts(element: Any) -> Iterator[str]:
    name = name_of(element)
    if name is None or name in _SKIPPED or element.get("revised") == "delete":
        return
    if name == "br":
        yield _LINE
    elif name == "tr":
        yield from _row(element)
    elif name == "sup":
        yield _RAISED
        yield from _inner(element)
    elif name == "pre":
        yield _GAP
        for line in "".join(element.itertext()).replace("\r\n", "\n").split("\n"):
            # A blank that does not break is kept: columns in a preformatted text stay columns.
            yield line.expandtabs(8).replace(" ", "\u00a0") or "\u00a0"
            yield _BLOCK
    elif name in _BLOCKS:
        edge = _GAP if name in _SPACED else _BLOCK
        yield edge
        if name in _ITEMS:
            yield "- "
        yield from _inner(element)
        yield edge
    else:
        yield from _inner(element)


def _inner(element: Any) -> Iterator[str]:
    if element.text:
        yield element.text
    for child in element:
        yield from _parts(child)
        if child.tail:
            yield child.tail


def _row(row: Any) -> Iterator[str]:
    cells = [text_of(cell) for cell in row if name_of(cell) in _CELLS]
    filled = [cell for cell in cells if cell]
    yield _BLOCK
    if len(filled) == 1 or any(cell.count("\n") > 2 for cell in filled):
        # A table that only lays a page out: each cell holds paragraphs of its own.
        for cell in filled:
            for line in cell.split("\n"):
                yield line or _GAP
                yield _BLOCK
    elif filled:
        yield " | ".join(one_line(cell) for cell in cells)
    yield _BLOCK


def name_of(element: Any) -> str | None:
    """The element's name in small letters without its namespace; None for comments and the like."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else None
