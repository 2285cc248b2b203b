"""Converts element trees (HTML, C-CDA narrative) to plain text: blocks, lists, tables, line breaks and superscripts."""

import re
from collections.abc import Iterator
from typing import Any

from fine_tune_assets.reports.heading_marks import BOLD_LEVEL, MAX_LEVEL, format_mark, remove_marks
from fine_tune_assets.reports.text_cleanup import collapse_whitespace, normalize_marked

_SKIPPED = frozenset(
    {"script", "style", "head", "template", "noscript", "del", "title", "iframe", "object", "svg", "math"}
)
_BLOCKS = frozenset(
    """address article aside blockquote body caption center dd details div dl dt fieldset figcaption figure footer form
    h1 h2 h3 h4 h5 h6 header hr html legend li list item main nav ol option p paragraph pre section summary table tbody
    tfoot thead tr ul""".split()  # noqa: SIM905
)
_SPACED_BLOCKS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6", "p", "paragraph", "table"})
_ITEMS = frozenset({"li", "item"})
_CELLS = frozenset({"td", "th"})
_BLOCK, _GAP, _LINE, _SUPERSCRIPT, _HEADING = "\x01", "\x02", "\x03", "\x04", "\x05"
"""Marks a block boundary, a boundary with space around it, a line break, a superscript, and before a digit the level of a
heading. Illegal in XML, so unambiguous."""
_BOLD = frozenset({"b", "strong"})
_BOLD_STYLE = re.compile(r"font-weight\s{0,8}:\s{0,8}(?:bold|[6-9]00)", re.IGNORECASE)
_BOLD_BLOCKS = frozenset({"p", "div", "paragraph"})


def extract_text(element: Any) -> str:
    """Text of an lxml element, without its tail."""
    return remove_marks(extract_marked_text(element))


def extract_marked_text(element: Any) -> str:
    """The text with its headings marked (`heading_marks`)."""
    return normalize_marked("".join(_join_parts(_iter_parts(element))))


def _join_parts(parts: Iterator[str]) -> Iterator[str]:
    """Collapse white space as browsers do, and put a ^ between a digit and a superscript digit: 10⁹ is not 109."""
    last, newlines, lines, mark = "", 2, 0, ""
    for part in parts:
        if part in (_BLOCK, _GAP):
            newlines = max(newlines, 1 if part == _BLOCK else 2)
        elif part == _LINE:
            lines += 1
        elif part.startswith(_HEADING):
            mark = part.removeprefix(_HEADING)
        elif part == _SUPERSCRIPT:
            last = _SUPERSCRIPT if last[-1:].isdigit() and not newlines and not lines else last
        else:
            text = re.sub(r"[ \t\r\n\f]+", " ", part)
            is_raised, last = last == _SUPERSCRIPT, "" if last == _SUPERSCRIPT else last
            text = text.lstrip(" ") if newlines or lines or last.endswith(" ") else text
            if not text:
                continue
            yield (
                "\n" * max(newlines, lines)
                + mark
                + ("^" if is_raised and text[:1].lstrip("-−").isalnum() else "")
                + text
            )
            last, newlines, lines, mark = text, 0, 0, ""


def _iter_parts(element: Any) -> Iterator[str]:
    name = local_name(element)
    if name is None or name in _SKIPPED or element.get("revised") == "delete":
        return
    if name == "br":
        yield _LINE
    elif name == "tr":
        yield from _iter_row_parts(element)
    elif name == "sup":
        yield _SUPERSCRIPT
        yield from _iter_inner_parts(element)
    elif name == "pre":
        yield _GAP
        for line in "".join(element.itertext()).replace("\r\n", "\n").split("\n"):
            # Keep non-breaking spaces, so that columns in preformatted text stay aligned.
            yield line.expandtabs(8).replace(" ", "\u00a0") or "\u00a0"
            yield _BLOCK
    elif name in _BLOCKS:
        edge = _GAP if name in _SPACED_BLOCKS else _BLOCK
        yield edge
        if name in _ITEMS:
            yield "- "
        level = _find_level(name, element)
        if level is not None:
            yield f"{_HEADING}{format_mark(level)}"
        yield from _iter_inner_parts(element)
        if level is not None:
            yield _HEADING  # an empty heading must not mark what follows
        yield edge
    else:
        yield from _iter_inner_parts(element)


def _find_level(name: str, element: Any) -> int | None:
    """Level of a heading element, or of a block of bold text alone; None for any other."""
    if name[0] == "h" and name[1:].isdigit():
        return int(name[1:])
    if element.get("role") == "heading":
        stated = element.get("aria-level", "2")
        return int(stated) if stated in "123456789" else MAX_LEVEL
    return BOLD_LEVEL if name in _BOLD_BLOCKS and _is_bold_alone(element) else None


def _is_bold_alone(element: Any) -> bool:
    """Whether the text of a block is bold, down to its last word."""
    if _BOLD_STYLE.search(element.get("style", "")):
        return True
    inner = [child for child in element if local_name(child) not in (None, "br")]
    around = [element.text, *(child.tail for child in element)]
    return bool(inner) and not any(text and text.strip() for text in around) and all(map(_is_bold, inner))


def _is_bold(element: Any) -> bool:
    styles = f"{element.get('styleCode', '')} {element.get('style', '')}"
    return local_name(element) in _BOLD or "Bold" in styles.split() or _BOLD_STYLE.search(styles) is not None


def _iter_inner_parts(element: Any) -> Iterator[str]:
    if element.text:
        yield element.text
    for child in element:
        yield from _iter_parts(child)
        if child.tail:
            yield child.tail


def _iter_row_parts(row: Any) -> Iterator[str]:
    cells = [extract_marked_text(cell) for cell in row if local_name(cell) in _CELLS]
    filled = [cell for cell in cells if cell]
    yield _BLOCK
    if len(filled) == 1 or any(cell.count("\n") > 2 for cell in filled):
        # A layout table: each cell contains paragraphs.
        for cell in filled:
            for line in cell.split("\n"):
                yield line or _GAP
                yield _BLOCK
    elif filled:
        yield " | ".join(collapse_whitespace(remove_marks(cell)) for cell in cells)
    yield _BLOCK


def local_name(element: Any) -> str | None:
    """Lower-case element name without namespace; None for comments and processing instructions."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else None
