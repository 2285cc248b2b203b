"""Marks of headings that a format states by style, inside a text that is still being put together.

A reader marks a line, and the marks are taken out when the text is final: then the number of each line is known. Two control
characters that XML forbids and that no other text keeps enclose the level.
"""

import re
from dataclasses import dataclass

TITLE_LEVEL, BOLD_LEVEL, MAX_LEVEL = 0, 10, 9
"""Levels of a document's title, of a bold line without a heading style, and of the deepest heading style."""
MARK_START, MARK_END = "\x11", "\x12"
_MARK = re.compile(f"{MARK_START}(\\d{{1,2}}){MARK_END}")
_STRAY = re.compile(f"[{MARK_START}{MARK_END}]")


@dataclass(frozen=True)
class MarkedLine:
    """A line that the format states to be a heading."""

    line: int
    """Number of the line, from 1."""
    level: int


def format_mark(level: int) -> str:
    return f"{MARK_START}{level}{MARK_END}"


def remove_marks(text: str) -> str:
    return _STRAY.sub("", _MARK.sub("", text))


def take_headings(marked: str) -> tuple[str, tuple[MarkedLine, ...]]:
    """The text without marks, and the marked lines that are not blank."""
    headings = [
        MarkedLine(line=number, level=int(mark[1]))
        for number, line in enumerate(marked.splitlines(), start=1)
        if (mark := _MARK.match(line.lstrip())) and remove_marks(line).strip()
    ]
    return remove_marks(marked), tuple(headings)


def mark_lines(text: str, headings: tuple[MarkedLine, ...]) -> str:
    """The text with its headings marked, to be put into another one."""
    levels = {heading.line: heading.level for heading in headings}
    lines = text.splitlines(keepends=True) if levels else [text]
    return "".join(
        f"{format_mark(levels[number])}{line}" if number in levels else line
        for number, line in enumerate(lines, start=1)
    )
