"""Fields of HL7 version 2 segments as plain lists of text, whatever the library made of them.

Owns escapes, repetitions, components, dates and names. Does not know which field means what.
"""

import re
from collections.abc import Callable
from typing import Any

_ESCAPED = re.compile(
    r"([FSTRE])|([HN])|\.(br|sp|ce|in|ti|sk|fi|nf)([+-]?\d*)|X((?:[0-9A-Fa-f]{2})+)|[CMZ][0-9A-Fa-f]*"
)
_LINES = ("br", "sp", "ce")


def unescape(message: Any, raw: str) -> str:
    """The text with its escapes resolved. What only looks like one, such as the lone backslash of "5\\10", stays."""
    escape = re.escape(str(message.esc))
    return re.sub(rf"{escape}({_ESCAPED.pattern}){escape}", _resolving(message), raw)


def _resolving(message: Any) -> Callable[[re.Match[str]], str]:
    signs = str(message.separators)
    character = {"F": signs[1], "R": signs[2], "S": signs[3], "T": signs[4], "E": str(message.esc)}

    def resolve(match: re.Match[str]) -> str:
        _, sign, _, command, count, hexed = match.groups()
        if sign:
            return character[sign]
        if command in _LINES:
            return "\n" * min(int(count or 1), 5) if command == "sp" else "\n"
        if hexed:
            return bytes.fromhex(hexed).decode("utf-8", "replace").replace("\r", "\n")
        return ""

    return resolve


def fields(segment: Any, number: int) -> list[str]:
    """The repetitions of a field, each as its raw text; none if the field is empty."""
    raw = [str(repetition) for repetition in _repeated(segment, number)]
    return raw if any(raw) else []


def repetitions(segment: Any, number: int) -> list[list[str]]:
    """The repetitions of a field, each as the raw text of its components."""
    repeated = _repeated(segment, number)
    found = [[one] if isinstance(one, str) else [str(part) for part in one] for one in repeated]
    return [parts for parts in found if any(parts)]


def _repeated(segment: Any, number: int) -> list[Any]:
    field = segment[number] if number < len(segment) else ""
    return [field] if isinstance(field, str) else list(field)


def text(message: Any, segment: Any, number: int, component: int) -> str:
    """A component of the first repetition, from 1, on one line; empty if there is none."""
    first = next(iter(repetitions(segment, number)), [])
    return " ".join(unescape(message, first[component - 1]).split()) if len(first) >= component else ""


def iso_date(raw: str) -> str:
    """The day of a time stamp as 2026-03-01; empty if it names no day."""
    digits = re.match(r"(\d{4})(\d{2})(\d{2})", raw)
    return "-".join(digits.groups()) if digits else ""
