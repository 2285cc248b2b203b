"""Texts in which identifiers are marked as `[[LABEL|value]]`, and their plain form with spans."""

import re
from dataclasses import dataclass

_MARK = re.compile(r"\[\[([A-Z_]+)\|(.*?)\]\]", re.DOTALL)


@dataclass(frozen=True)
class Span:
    start: int
    end: int
    """Exclusive, in characters."""
    label: str


def mark(label: str, value: str) -> str:
    return f"[[{label}|{value}]]"


def remove_marks(marked: str) -> tuple[str, tuple[Span, ...]]:
    """Return the plain text and the spans of what was marked."""
    parts: list[str] = []
    spans: list[Span] = []
    at = length = 0
    for match in _MARK.finditer(marked):
        before, value = marked[at : match.start()], match[2]
        start = length + len(before)
        length = start + len(value)
        spans.append(Span(start, length, match[1]))
        parts += [before, value]
        at = match.end()
    return "".join([*parts, marked[at:]]), tuple(spans)


def wrap_lines(text: str, width: int, kept: str) -> str:
    """Break lines at blanks, except the line `kept`. Each broken blank becomes one line end, so offsets stay valid."""
    return "\n".join(line if line == kept else _wrap_line(line, width) for line in text.split("\n"))


def _wrap_line(line: str, width: int) -> str:
    head = line[: len(line) - len(line.lstrip())]
    words, lines = line[len(head) :].split(" "), [head]
    for number, word in enumerate(words):
        if number and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] += f" {word}" if number else word
    return "\n".join(lines)
