"""Finds the identifiers stated in a report's metadata everywhere in its text.

Metadata is certain where a recognizer guesses, so this is what removes rare names. The text is indexed once; no pattern is
compiled per report.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from fine_tune_assets.phi.known_identifiers.known_dates import Day, find_days, read_days
from fine_tune_assets.phi.known_identifiers.known_names import find_names
from fine_tune_assets.phi.known_identifiers.known_numbers import find_id, find_phone
from fine_tune_assets.phi.known_identifiers.known_places import find_address, find_facility
from fine_tune_assets.phi.known_identifiers.stated_names import NameIndex, read_names
from fine_tune_assets.phi.replacement.surrogate_dates import MAX_DISCLOSED_AGE
from fine_tune_assets.phi.spans.folded_text import FoldedText, fold
from fine_tune_assets.phi.spans.spans import KNOWN_RULE, Offsets, Span
from fine_tune_assets.phi.spans.vocabulary import Vocabulary

_CACHED_SUBJECTS = 256
_LABELS = {"address": "LOCATION"}
# "91 %" and "91/60" are measurements.
_MEASUREMENT_AFTER = re.compile(r"[\w/]|\s?%|[.]\d")
_URL_PREFIX = re.compile(r"^(?:https?://)?(?:www\.)?", re.IGNORECASE)
_URL_PREFIX_BEFORE = re.compile(r"(?:https?://)?(?:www\.)?$", re.IGNORECASE)

StatedValues = tuple[tuple[str, str], ...]


def find_known_identifiers(text: str, known: Sequence[Mapping[str, str]], vocabulary: Vocabulary) -> list[Span]:
    """Every occurrence of every value in `known`, a list of {"kind", "value"}. Spans of different values may overlap."""
    stated = tuple((entry["kind"], value) for entry in known if (value := entry["value"].strip()))
    if not text or not stated:
        return []
    found = set(_find_all(FoldedText(text), stated, vocabulary))
    return [Span(*offsets, _LABELS.get(kind, kind.upper()), KNOWN_RULE, 1.0) for kind, offsets in sorted(found)]


def _find_all(text: FoldedText, stated: StatedValues, vocabulary: Vocabulary) -> Iterator[tuple[str, Offsets]]:
    names = tuple(value for kind, value in stated if kind == "name")
    days = tuple(value for kind, value in stated if kind == "date")
    if names:
        yield from (("name", offsets) for offsets in find_names(text, _index_names(names, vocabulary)))
    if days:
        yield from (("date", offsets) for offsets in find_days(text, _parse_days(days)))
    for kind, value in stated:
        yield from ((kind, offsets) for offsets in _find_value(text, kind, value, vocabulary))


@lru_cache(_CACHED_SUBJECTS)
def _index_names(values: tuple[str, ...], vocabulary: Vocabulary) -> NameIndex:
    return NameIndex((name for value in values for name in read_names(value)), vocabulary)


@lru_cache(_CACHED_SUBJECTS)
def _parse_days(values: tuple[str, ...]) -> frozenset[Day]:
    return frozenset(day for value in values for day in read_days(value))


def _find_value(text: FoldedText, kind: str, value: str, vocabulary: Vocabulary) -> Iterator[Offsets]:
    match kind:
        case "age":
            yield from _find_age(text, value)
        case "id":
            yield from find_id(text, value)
        case "phone":
            yield from find_phone(text, value)
        case "address":
            yield from find_address(text, value, vocabulary)
        case "facility":
            yield from find_facility(text, value, vocabulary)
        case "url":
            yield from _find_url(text, value)
        case "name" | "date":
            # A value that cannot be parsed as a name or a day is still found verbatim.
            if not (_index_names((value,), vocabulary).names if kind == "name" else _parse_days((value,))):
                yield from _find_as_stated(text, kind, value)
        case _:
            yield from _find_literal(text, value)


def _find_as_stated(text: FoldedText, kind: str, value: str) -> Iterator[Offsets]:
    """Find an unparsable value verbatim, such as a name in digits; skip bare years and names that state "no name"."""
    has_letters = any(c.isalpha() for c in value)
    if (kind == "date" and len(value) > 4) or (kind == "name" and not has_letters):
        yield from _find_literal(text, value)


def _find_age(text: FoldedText, value: str) -> Iterator[Offsets]:
    digits = re.match(r"\d+", value)
    if digits and int(digits[0]) > MAX_DISCLOSED_AGE:
        for place in text.positions.get(digits[0], ()):
            word = text.word(place)
            if not re.search(r"[\w./]$", text.folded[: word.start][-1:]) and not _MEASUREMENT_AFTER.match(
                text.folded, word.end
            ):
                yield word.start, word.end


def _find_literal(text: FoldedText, value: str) -> Iterator[Offsets]:
    """Find the value in any case, but not inside a longer word."""
    lower, key = text.lower, fold(value).lower()
    at = lower.find(key) if key else -1
    while at >= 0:
        end = at + len(key)
        if not (at and lower[at - 1].isalnum()) and not lower[end : end + 1].isalnum():
            yield at, end
        at = lower.find(key, end)


def _find_url(text: FoldedText, value: str) -> Iterator[Offsets]:
    """Find the value with or without https:// and www."""
    for start, end in _find_literal(text, _URL_PREFIX.sub("", value).rstrip("/")):
        before = _URL_PREFIX_BEFORE.search(text.folded, max(0, start - 12), start)
        yield before.start() if before else start, end
