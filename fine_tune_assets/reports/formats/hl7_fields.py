"""Reads fields of HL7 v2 segments as lists of text: escapes, repetitions, components and dates."""

import re
from collections.abc import Callable
from typing import Any

_ESCAPE_SEQUENCE = re.compile(
    r"([FSTRE])|([HN])|\.(br|sp|ce|in|ti|sk|fi|nf)([+-]?\d*)|X((?:[0-9A-Fa-f]{2})+)|[CMZ][0-9A-Fa-f]*"
)
_LINE_COMMANDS = ("br", "sp", "ce")


def unescape(message: Any, raw: str) -> str:
    """Resolve escape sequences. Text that only resembles one, such as the backslash of "5\\10", stays."""
    escape = re.escape(str(message.esc))
    return re.sub(rf"{escape}({_ESCAPE_SEQUENCE.pattern}){escape}", _make_resolver(message), raw)


def _make_resolver(message: Any) -> Callable[[re.Match[str]], str]:
    signs = str(message.separators)
    character = {"F": signs[1], "R": signs[2], "S": signs[3], "T": signs[4], "E": str(message.esc)}

    def resolve(match: re.Match[str]) -> str:
        _, sign, _, command, count, hexed = match.groups()
        if sign:
            return character[sign]
        if command in _LINE_COMMANDS:
            return "\n" * min(int(count or 1), 5) if command == "sp" else "\n"
        if hexed:
            return bytes.fromhex(hexed).decode("utf-8", "replace").replace("\r", "\n")
        return ""

    return resolve


def read_field(segment: Any, number: int) -> list[str]:
    """Return the raw text of each repetition; empty if the field is empty."""
    raw = [str(repetition) for repetition in _split_repetitions(segment, number)]
    return raw if any(raw) else []


def read_repetitions(segment: Any, number: int) -> list[list[str]]:
    """Return the raw text of each component of each repetition."""
    repeated = _split_repetitions(segment, number)
    found = [[one] if isinstance(one, str) else [str(part) for part in one] for one in repeated]
    return [parts for parts in found if any(parts)]


def _split_repetitions(segment: Any, number: int) -> list[Any]:
    field = segment[number] if number < len(segment) else ""
    return [field] if isinstance(field, str) else list(field)


def read_text(message: Any, segment: Any, number: int, component: int) -> str:
    """Return a component (from 1) of the first repetition on one line; empty if absent."""
    first = next(iter(read_repetitions(segment, number)), [])
    return " ".join(unescape(message, first[component - 1]).split()) if len(first) >= component else ""


def to_iso_date(raw: str) -> str:
    """Return the day of a timestamp as 2026-03-01; empty if it has none."""
    digits = re.match(r"(\d{4})(\d{2})(\d{2})", raw)
    return "-".join(digits.groups()) if digits else ""
