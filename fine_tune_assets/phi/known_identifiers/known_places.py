"""Finds known addresses and facilities in a text: whole, and each part that identifies the place.

A state or country alone is kept.
"""

# ruff: noqa: SIM905 (a list of words is easier to read, and to add to, as text)

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.phi.known_identifiers.known_numbers import find_id
from fine_tune_assets.phi.spans.folded_text import FoldedText, fold, make_key
from fine_tune_assets.phi.spans.identifier_words import (
    ABBREVIATIONS,
    AMBIGUOUS_NAMES,
    AMBIGUOUS_TOWNS,
    GENERIC_SITE_WORDS,
    MISSING_NAME_VALUES,
    PLACE_ABBREVIATIONS,
    SITE_TYPES,
    STATES_AND_COUNTRIES,
    STREET_TYPES,
)
from fine_tune_assets.phi.spans.spans import Offsets
from fine_tune_assets.phi.spans.vocabulary import Vocabulary

_DIRECTIONS = frozenset("n s e w ne nw se sw".split())
_UNIT_WORDS = frozenset("apt ste unit rm bldg fl box".split())
_POSTCODE = re.compile(r"\b(?:\d{5}(?:-?\d{4})?|[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2})$", re.IGNORECASE)
_ZIP_EXTENSION = re.compile(r"[- ]?\d{4}(?!\d)")
_LAST_STATE = compile_bounded(r"[\s,]+(?P<state>[A-Z]{2})\.?$")
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+")
_WORD_GAP = re.compile(r"[\s.,#'/&()\-]{0,4}")
_PART_GAP = re.compile(r"[ \t,.]{1,3}(?:\r?\n[ \t]*)?|\r?\n[ \t]*")
_PREPOSITION = re.compile(r"\b(?:at|to|from|in|of|near|by|with|via)\s(?:the\s)?$", re.IGNORECASE)
_FUNCTION_WORDS = frozenset("of the and at for in on a".split())
_MIN_ACRONYM_LENGTH, _MIN_SINGLE_WORD_LENGTH = 3, 4


def _find_words(text: FoldedText, keys: Sequence[str], needs_capitals: bool) -> Iterator[Offsets]:
    """Every occurrence of the words in order, each in any of its forms."""
    forms = [_list_forms(key) for key in keys]
    firsts = sorted(place for form in forms[0] for place in text.positions.get(form, ())) if forms else []
    for first in firsts:
        places = range(first, first + len(forms))
        if places[-1] >= len(text) or any(
            text.keys[place] not in form for place, form in zip(places, forms, strict=True)
        ):
            continue
        if all(_WORD_GAP.fullmatch(text.gap(place)) for place in places[:-1]) and _has_capitals_if_needed(
            text, places, needs_capitals
        ):
            yield text.word(first).start, text.word(places[-1]).end


def _has_capitals_if_needed(text: FoldedText, places: range, needs_capitals: bool) -> bool:
    words = (text.word(place) for place in places)
    return not needs_capitals or all(word.key in _FUNCTION_WORDS or not word.surface[0].islower() for word in words)


@lru_cache(4096)
def _list_forms(key: str) -> frozenset[str]:
    """All forms of a word: street, streets, str and st for st."""
    words = {key, *(long for long, short in PLACE_ABBREVIATIONS.items() if short == key)}
    return frozenset(words | {f"{word}s" for word in words if len(word) > 3})


def _abbreviate(word: str) -> str:
    key = make_key(word)
    if len(key) > 4 and key.endswith("s") and not key.endswith("ss"):
        key = key[:-1]
    return PLACE_ABBREVIATIONS.get(key, key)


@lru_cache(4096)
def _make_keys(value: str) -> tuple[str, ...]:
    return tuple(_abbreviate(word) for word in _WORD.findall(fold(value)))


def find_address(text: FoldedText, value: str, vocabulary: Vocabulary) -> Iterator[Offsets]:
    """The whole address, its street line, town and postcode; adjacent parts form one span."""
    stated = value.replace("^", ", ")
    parts = [part.strip() for part in re.split(r"[,;\n|]", stated) if part.strip()]
    found = sorted(
        {
            *_find_words(text, _make_keys(stated), False),
            *(o for n, part in enumerate(parts) for o in _find_part(text, part, n, vocabulary)),
        }
    )
    return _join_parts(text.folded, found, {p for p in parts if len(p) == 2 and p.isupper()} | _find_states(stated))


def _find_states(value: str) -> set[str]:
    return {word for word in re.findall(r"\b[A-Z]{2}\b", value) if word.lower() in STATES_AND_COUNTRIES}


def _find_part(text: FoldedText, part: str, position: int, vocabulary: Vocabulary) -> Iterator[Offsets]:
    if code := _POSTCODE.search(part):
        yield from _find_postcode(text, code[0])
        part = part[: code.start()].strip(" ,.")
    if state := _LAST_STATE.search(part):
        part = part[: state.start()] if state["state"].lower() in STATES_AND_COUNTRIES else part
    keys = _make_keys(part)
    if (
        not any(key.isalpha() and len(key) > 1 for key in keys)
        or part.lower() in STATES_AND_COUNTRIES
        or " ".join(keys) in STATES_AND_COUNTRIES
    ):
        return
    ends = [n for n, key in enumerate(keys) if key in STREET_TYPES and n > 0]
    if keys[0][0].isdecimal() or ends:
        yield from _find_street(text, keys, ends[-1] + 1 if ends else len(keys), vocabulary)
    elif keys[0] in _UNIT_WORDS or (keys[0] in ("po", "p") and "box" in keys):
        yield from _find_words(text, keys, False)
    else:
        yield from _find_town(text, keys, vocabulary, is_alone=position == 0)


def _find_postcode(text: FoldedText, code: str) -> Iterator[Offsets]:
    first = code[:5] if code[:5].isdecimal() else code
    for start, end in find_id(text, first):
        plus = _ZIP_EXTENSION.match(text.folded, end)
        yield start, plus.end() if plus else end
    if first != code:
        yield from find_id(text, code)


def _find_street(text: FoldedText, keys: tuple[str, ...], end: int, vocabulary: Vocabulary) -> Iterator[Offsets]:
    """12 N Main St Apt 4; 12 Main; Main Street. After the street type comes a unit or, in an address without commas, a town."""
    line, rest = keys[:end], keys[end:]
    yield from _find_words(text, keys, False)
    yield from _find_words(text, line, False)
    has_number = line[0][0].isdecimal()
    name = tuple(key for key in line[has_number:] if key not in _DIRECTIONS) if len(line) > 2 else line[has_number:]
    if has_number and name:
        for middle in {name, name[:-1] if name[-1] in STREET_TYPES and len(name) > 1 else name}:
            yield from _find_words(text, (line[0], *middle), True)
    if len(name) > 1 and name[-1] in STREET_TYPES:
        yield from _find_words(text, name, True)
        yield from _find_words(text, line[has_number:], True)
    if rest and rest[0] not in _UNIT_WORDS and not any(key[0].isdecimal() for key in rest):
        yield from _find_town(text, rest, vocabulary, is_alone=False)


def _find_town(text: FoldedText, keys: tuple[str, ...], vocabulary: Vocabulary, is_alone: bool) -> Iterator[Offsets]:
    """A town whose name is a word matches only capitalised (Reading, not reading); Normal only after "in" or "from"."""
    if not is_alone and len(keys) == 1 and len(keys[0]) < _MIN_SINGLE_WORD_LENGTH - 1:
        return
    if len(keys) > 1 or not _is_word(keys[0], vocabulary):
        is_ordinary = all(_is_word(key, vocabulary) for key in keys)
        yield from _find_words(text, keys, len(keys) > 1 and is_ordinary)
        return
    for start, end in _find_words(text, keys, True):
        if _PREPOSITION.search(text.folded[max(0, start - 12) : start]) or re.match(
            r",\s[A-Z]", text.folded[end : end + 3]
        ):
            yield start, end


def _is_word(key: str, vocabulary: Vocabulary) -> bool:
    is_name_too = key in AMBIGUOUS_NAMES or key in AMBIGUOUS_TOWNS
    return is_name_too or key in GENERIC_SITE_WORDS or key in vocabulary.ordinary_words


def _join_parts(folded: str, found: Sequence[Offsets], states: set[str]) -> Iterator[Offsets]:
    """Merge parts that are separated only by a comma or their state."""
    start = end = -1
    for begin, stop in found:
        if start >= 0 and begin <= _find_gap_end(folded, end, states):
            end = max(end, stop)
            continue
        if start >= 0:
            yield start, _find_state_end(folded, end, states)
        start, end = begin, stop
    if start >= 0:
        yield start, _find_state_end(folded, end, states)


def _find_gap_end(folded: str, end: int, states: set[str]) -> int:
    at = _find_state_end(folded, end, states)
    gap = _PART_GAP.match(folded, at)
    return gap.end() if gap and "\n" not in gap[0] else at


def _find_state_end(folded: str, end: int, states: set[str]) -> int:
    match = re.compile(r"\.?,?[ ]{1,2}([A-Z]{2})\b").match(folded, end)
    return match.end() if match and match[1] in states else end


def find_facility(text: FoldedText, value: str, vocabulary: Vocabulary) -> Iterator[Offsets]:
    """The full name, the name without its kind if that identifies the site, and its acronym."""
    stated = value.split("^")[0]
    keys = _make_keys(stated)
    if not keys or all(_is_uninformative(key, vocabulary) for key in keys):
        return
    yield from _find_words(text, keys, len(keys) == 1 and _is_word(keys[0], vocabulary))
    rest = keys
    while len(rest) > 1 and rest[-1] in SITE_TYPES:
        rest = rest[:-1]
    if rest != keys:
        yield from _find_short_facility(text, rest, vocabulary)
    yield from _find_acronym(text, stated)


def _find_short_facility(text: FoldedText, rest: tuple[str, ...], vocabulary: Vocabulary) -> Iterator[Offsets]:
    rest = rest[1:] if rest[0] == "the" else rest
    if (
        not rest
        or all(key in GENERIC_SITE_WORDS for key in rest)
        or (len(rest) == 1 and len(rest[0]) < _MIN_SINGLE_WORD_LENGTH)
    ):
        return
    if len(rest) > 1 or not _is_word(rest[0], vocabulary):
        yield from _find_words(text, rest, all(_is_word(key, vocabulary) for key in rest))
        return
    for start, end in _find_words(text, rest, True):
        if _PREPOSITION.search(text.folded[max(0, start - 12) : start]):
            yield start, end


def _is_uninformative(key: str, vocabulary: Vocabulary) -> bool:
    is_heading = key.upper() in vocabulary.heading_words or key.upper() in ABBREVIATIONS
    is_word = key in GENERIC_SITE_WORDS or key in MISSING_NAME_VALUES or key in vocabulary.ordinary_words
    return is_word or is_heading or key.isdecimal()


def _find_acronym(text: FoldedText, stated: str) -> Iterator[Offsets]:
    """Find MGH for Mercy General Hospital, unless the acronym is a medical abbreviation."""
    words = re.findall(r"[^\W\d_]+(?:'\w+)?", fold(stated))
    letters = "".join(word[0] for word in words if word.lower() not in _FUNCTION_WORDS).upper()
    if len(letters) >= _MIN_ACRONYM_LENGTH and letters not in ABBREVIATIONS:
        found = (text.word(place) for place in text.positions.get(letters.lower(), ()))
        yield from ((word.start, word.end) for word in found if word.surface[: len(letters)].isupper())
