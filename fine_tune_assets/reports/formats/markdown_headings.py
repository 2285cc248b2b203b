"""Finds the headings of a Markdown text: lines with `#`, underlined lines, and bold lines. Code blocks have none."""

import re
from collections.abc import Iterator

from fine_tune_assets.reports.heading_marks import BOLD_LEVEL, MarkedLine

_ATX = re.compile(r" {0,3}(#{1,6})[ \t]+\S")
_UNDERLINE = re.compile(r" {0,3}(?:={2,}|-{2,})[ \t]*")
_NO_PARAGRAPH = re.compile(r"[ \t]*(?:[-*+>|#]|\d{1,9}[.)][ \t]|$)")
"""Beginning of a line that an underline does not turn into a heading: blank, item, quotation, table or heading."""
_BOLD = re.compile(r" {0,3}(?:\*\*[^*\s](?:[^*]*[^*\s])?\*\*|__[^_\s](?:[^_]*[^_\s])?__)[ \t]*:?[ \t]*")
_FENCE = re.compile(r" {0,3}(```+|~~~+)")


def find_markdown_headings(text: str) -> tuple[MarkedLine, ...]:
    """
    >>> [(one.line, one.level) for one in find_markdown_headings("# Report\\n\\nRoof\\n----\\nLeaks.\\n\\n**Cellar**")]
    [(1, 1), (3, 2), (7, 10)]
    """
    return tuple(_iter_headings(text.splitlines()))


def _iter_headings(lines: list[str]) -> Iterator[MarkedLine]:
    fence = ""
    for number, line in enumerate(lines, start=1):
        opened = _FENCE.match(line)
        if opened is not None and (not fence or opened[1].startswith(fence)):
            fence = "" if fence else opened[1]
        if fence:
            continue
        below = lines[number] if number < len(lines) else ""
        above = lines[number - 2] if number > 1 else ""
        if (atx := _ATX.match(line)) is not None:
            yield MarkedLine(number, len(atx[1]))
        elif _UNDERLINE.fullmatch(below) and not _NO_PARAGRAPH.match(line) and not above.strip():
            # After a line of text, the two lines are one heading by the letter, and a rule below a paragraph in practice.
            yield MarkedLine(number, 1 if "=" in below else 2)
        elif _BOLD.fullmatch(line):
            yield MarkedLine(number, BOLD_LEVEL)
