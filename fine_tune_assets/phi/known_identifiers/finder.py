"""Finds the identifiers that a report's own metadata states, wherever they stand in its text.

Owns which form of writing belongs to which kind. Certain where a recogniser only guesses: this is what removes rare names.
A text is read once, and what is known is looked up in it: no pattern is compiled for a report.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from fine_tune_assets.phi.known_identifiers.dates import Day, find_days, read_days
from fine_tune_assets.phi.known_identifiers.names import find_names
from fine_tune_assets.phi.known_identifiers.numbers import find_id, find_phone
from fine_tune_assets.phi.known_identifiers.places import find_address, find_facility
from fine_tune_assets.phi.known_identifiers.stated_names import NameIndex, read_names
from fine_tune_assets.phi.replacement.dates import OLDEST_PLAIN_AGE
from fine_tune_assets.phi.spans.folded_text import FoldedText, fold
from fine_tune_assets.phi.spans.spans import KNOWN, Offsets, Span

_PATIENTS_REMEMBERED = 256
_LABELS = {"address": "LOCATION"}
# "91 %" and "91/60" are measurements.
_MEASURED = re.compile(r"[\w/]|\s?%|[.]\d")
_TO_WEB_ADDRESS = re.compile(r"^(?:https?://)?(?:www\.)?", re.IGNORECASE)
_BEFORE_WEB_ADDRESS = re.compile(r"(?:https?://)?(?:www\.)?$", re.IGNORECASE)

Known = tuple[tuple[str, str], ...]


def find_known_identifiers(text: str, known: Sequence[Mapping[str, str]]) -> list[Span]:
    """Every place of every value; `known` is a list of {"kind", "value"}. Findings of different values may overlap."""
    stated = tuple((entry["kind"], value) for entry in known if (value := entry["value"].strip()))
    if not text or not stated:
        return []
    found = set(_find(FoldedText(text), stated))
    return [Span(*offsets, _LABELS.get(kind, kind.upper()), KNOWN, 1.0) for kind, offsets in sorted(found)]


def _find(text: FoldedText, stated: Known) -> Iterator[tuple[str, Offsets]]:
    names = tuple(value for kind, value in stated if kind == "name")
    days = tuple(value for kind, value in stated if kind == "date")
    if names:
        yield from (("name", offsets) for offsets in find_names(text, _names(names)))
    if days:
        yield from (("date", offsets) for offsets in find_days(text, _days(days)))
    for kind, value in stated:
        yield from ((kind, offsets) for offsets in _find_value(text, kind, value))


@lru_cache(_PATIENTS_REMEMBERED)
def _names(values: tuple[str, ...]) -> NameIndex:
    return NameIndex(name for value in values for name in read_names(value))


@lru_cache(_PATIENTS_REMEMBERED)
def _days(values: tuple[str, ...]) -> frozenset[Day]:
    return frozenset(day for value in values for day in read_days(value))


def _find_value(text: FoldedText, kind: str, value: str) -> Iterator[Offsets]:
    match kind:
        case "age":
            yield from _find_age(text, value)
        case "id":
            yield from find_id(text, value)
        case "phone":
            yield from find_phone(text, value)
        case "address":
            yield from find_address(text, value)
        case "facility":
            yield from find_facility(text, value)
        case "url":
            yield from _find_web_address(text, value)
        case "name" | "date":
            # What is no name or day that can be read is still found as it is stated.
            if not (_names((value,)).names if kind == "name" else _days((value,))):
                yield from _as_stated(text, kind, value)
        case _:
            yield from _whole(text, value)


def _as_stated(text: FoldedText, kind: str, value: str) -> Iterator[Offsets]:
    """A value in a form of its own, such as a name in figures; a bare year and a field without a name are none."""
    has_letters = any(c.isalpha() for c in value)
    if (kind == "date" and len(value) > 4) or (kind == "name" and not has_letters):
        yield from _whole(text, value)


def _find_age(text: FoldedText, value: str) -> Iterator[Offsets]:
    digits = re.match(r"\d+", value)
    if digits and int(digits[0]) > OLDEST_PLAIN_AGE:
        for place in text.places.get(digits[0], ()):
            word = text.word(place)
            if not re.search(r"[\w./]$", text.folded[: word.start][-1:]) and not _MEASURED.match(text.folded, word.end):
                yield word.start, word.end


def _whole(text: FoldedText, value: str) -> Iterator[Offsets]:
    """The value in any case, and not as a part of a longer word."""
    lower, key = text.lower, fold(value).lower()
    at = lower.find(key) if key else -1
    while at >= 0:
        end = at + len(key)
        if not (at and lower[at - 1].isalnum()) and not lower[end : end + 1].isalnum():
            yield at, end
        at = lower.find(key, end)


def _find_web_address(text: FoldedText, value: str) -> Iterator[Offsets]:
    """With or without https:// and www."""
    for start, end in _whole(text, _TO_WEB_ADDRESS.sub("", value).rstrip("/")):
        before = _BEFORE_WEB_ADDRESS.search(text.folded, max(0, start - 12), start)
        yield before.start() if before else start, end
