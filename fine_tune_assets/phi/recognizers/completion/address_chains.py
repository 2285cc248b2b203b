"""Joins a row of findings on one line that ends in a post code, and of which only punctuation or a unit separates the parts.

The tagger finds the parts of `12 Marlinstraat, Struisbaai, 7299` as a number, a name and a place.
"""

import re
from collections.abc import Sequence

from fine_tune_assets.phi.recognizers.completion.address_patterns import (
    ADDRESS_FOLLOWS,
    CHAIN_GAP,
    STREET_START_BEFORE,
    UNMISTAKABLE_POSTCODE,
    WORDS,
)
from fine_tune_assets.phi.recognizers.completion.identifier_parts import HOUSE_WORDS, STREET_ENDINGS
from fine_tune_assets.phi.replacement.name_pools import fold_surnames, load_known_given_names
from fine_tune_assets.phi.spans.folded_text import fold
from fine_tune_assets.phi.spans.spans import Offsets, Span

PLACES = ("LOCATION", "FACILITY")
_PARTS = frozenset({"NAME", *PLACES})
_WINDOW = 80
_MAX_PARTS = 12
_DIGITS_CODE = re.compile(r"(?<![\w.,/-])(?:[A-Z]{1,2}-)?(?:\d{4,6}|\d{2}-\d{3}|\d{3}[ ]\d{2,3})(?![\w/-]|[.,]\d)")
_CODE_AND_TOWN = re.compile(r"(?:[A-Z]{1,2}-)?\d{4,5}[ ][^\W\d_a-zß-ÿ]")
_YEAR = re.compile(r"(?:1[89]|20)\d\d")
_HOUSE_NUMBER = re.compile(r"(?<![\w.,/-])\d{1,4}[A-Za-z]?(?:[-/]\d{1,4}[A-Za-z]?)?(?![\w/-]|[.,]\d)")
_SHORT_NUMBER = re.compile(r"\d{1,4}[A-Za-z]?")
_STREET_NAME = re.compile(rf"\w(?:{STREET_ENDINGS})\b\.?", re.IGNORECASE)


def find_chains(text: str, spans: Sequence[Span]) -> list[tuple[int, int]]:
    """Index of the first and of the last finding of each row that is one address."""
    chains: list[tuple[int, int]] = []
    first = 0
    while first < len(spans):
        last = _find_end(text, spans, first)
        while first < last and not _is_address(text, spans[first : last + 1]):
            first += 1
        if first < last:
            chains.append((first, last))
        first = max(last, first) + 1
    return chains


def _find_end(text: str, spans: Sequence[Span], first: int) -> int:
    """Index of the last finding that can belong to the same row; nothing follows a post code that is unmistakable."""
    last = first
    while last + 1 < min(len(spans), first + _MAX_PARTS) and _is_next(text, spans[last], spans[last + 1]):
        last += 1
        if UNMISTAKABLE_POSTCODE.search(text[spans[last].start : spans[last].end]):
            break
    return last


def _is_next(text: str, left: Span, right: Span) -> bool:
    gap = text[left.end : right.start]
    return all(_is_part(text, span) for span in (left, right)) and CHAIN_GAP.fullmatch(gap) is not None


def _is_part(text: str, span: Span) -> bool:
    value = text[span.start : span.end]
    if span.label in _PARTS:
        return "\n" not in value
    return any(pattern.fullmatch(value) for pattern in (_SHORT_NUMBER, UNMISTAKABLE_POSTCODE, _DIGITS_CODE))


def _is_address(text: str, row: Sequence[Span]) -> bool:
    """Whether a row starts as an address does and ends with a post code; a bare number needs a house number before it."""
    values = [text[span.start : span.end] for span in row]
    has_place = any(span.label == "LOCATION" for span in row) or _follows_street(text, row[0])
    if not has_place or not _starts_address(text, row[0], row[1]):
        return False
    if not any(c.isalpha() for value in values[:-1] for c in value):
        return False
    if UNMISTAKABLE_POSTCODE.search(values[-1]):
        return True
    if row[0].label == "LOCATION" and _CODE_AND_TOWN.match(values[-1]):
        return True
    at = -2 if len(row) > 2 and _DIGITS_CODE.fullmatch(values[-2]) else -1
    code = _DIGITS_CODE.search(values[at])
    if code is None or _YEAR.fullmatch(values[at]):
        return False
    before: Offsets = (row[0].start, row[at].start + code.start())
    return _follows_street(text, row[0]) or _HOUSE_NUMBER.search(text, *before) is not None


def _follows_street(text: str, span: Span) -> bool:
    """Whether the first words of a street precede a finding: 4 impasse des."""
    before = text[max(0, span.start - _WINDOW) : span.start]
    street = STREET_START_BEFORE.search(before[before.rfind("\n") + 1 :])
    return street is not None


def _starts_address(text: str, first: Span, second: Span) -> bool:
    """Whether the first finding is part of the address: a person before an address stays a finding of its own."""
    if first.label not in ("NAME", "FACILITY"):
        return True
    value, before = text[first.start : first.end], text[max(0, first.start - _WINDOW) : first.start]
    if _follows_street(text, first) or ADDRESS_FOLLOWS.search(before) or _STREET_NAME.search(value.split(",")[0]):
        return True
    if _is_village(value, before) and UNMISTAKABLE_POSTCODE.search(text[second.start : second.end]):
        return True
    starts_with_number = text[second.start].isdigit() and UNMISTAKABLE_POSTCODE.match(text, second.start) is None
    if first.label == "FACILITY":
        return value.count(",") > 0 and not starts_with_number
    words = [word.lower() for word in WORDS.findall(value)]
    return value.count(",") > 1 or (len(words) > 1 and words[-1] in HOUSE_WORDS and not starts_with_number)


def _is_village(value: str, before: str) -> bool:
    """Whether a name of one word after a comma is no known name of a person."""
    key = fold(value).lower()
    return (
        before.endswith(", ") and value.isalpha() and key not in load_known_given_names() and key not in fold_surnames()
    )
