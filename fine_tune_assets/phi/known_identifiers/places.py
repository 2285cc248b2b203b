"""Finds known addresses and facilities in a text: whole, and each part that tells who or where.

Owns how a street, a town and a hospital are written. A state or a country alone is not removed.
"""

# ruff: noqa: SIM905 (a list of words is easier to read, and to add to, as text)

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from fine_tune_assets.phi.known_identifiers.numbers import find_id
from fine_tune_assets.phi.spans.folded_text import FoldedText, fold, key_of
from fine_tune_assets.phi.spans.spans import Offsets
from fine_tune_assets.phi.spans.word_lists import (
    ABBREVIATIONS,
    ALSO_WORDS,
    GENERIC,
    HEADING_WORDS,
    KINDS_OF_PLACE,
    NO_NAMES,
    ORDINARY_WORDS,
    SHORT_FORMS,
    STATES,
    STREET_TYPES,
    TOWNS_THAT_ARE_WORDS,
)

_DIRECTIONS = frozenset("n s e w ne nw se sw".split())
_UNIT_WORDS = frozenset("apt ste unit rm bldg fl box".split())
_POST_CODE = re.compile(r"\b(?:\d{5}(?:-?\d{4})?|[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2})$", re.IGNORECASE)
_ZIP_PLUS = re.compile(r"[- ]?\d{4}(?!\d)")
_LAST_STATE = re.compile(r"[\s,]+(?P<state>[A-Z]{2})\.?$")
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+")
_BETWEEN = re.compile(r"[\s.,#'/&()\-]{0,4}")
_NEXT_PART = re.compile(r"[ \t,.]{1,3}(?:\r?\n[ \t]*)?|\r?\n[ \t]*")
_PREPOSITION = re.compile(r"\b(?:at|to|from|in|of|near|by|with|via)\s(?:the\s)?$", re.IGNORECASE)
_SMALL = frozenset("of the and at for in on a".split())
_SHORTEST_ACRONYM, _SHORTEST_ALONE = 3, 4


def _find(text: FoldedText, keys: Sequence[str], needs_capitals: bool) -> Iterator[Offsets]:
    """Every place of the words in their order, each in any of its forms."""
    forms = [_forms(key) for key in keys]
    firsts = sorted(place for form in forms[0] for place in text.places.get(form, ())) if forms else []
    for first in firsts:
        places = range(first, first + len(forms))
        if places[-1] >= len(text) or any(
            text.keys[place] not in form for place, form in zip(places, forms, strict=True)
        ):
            continue
        if all(_BETWEEN.fullmatch(text.gap(place)) for place in places[:-1]) and _is_named(
            text, places, needs_capitals
        ):
            yield text.word(first).start, text.word(places[-1]).end


def _is_named(text: FoldedText, places: range, needs_capitals: bool) -> bool:
    words = (text.word(place) for place in places)
    return not needs_capitals or all(word.key in _SMALL or not word.written[0].islower() for word in words)


@lru_cache(4096)
def _forms(key: str) -> frozenset[str]:
    """street, streets, str and st for st."""
    words = {key, *(long for long, short in SHORT_FORMS.items() if short == key)}
    return frozenset(words | {f"{word}s" for word in words if len(word) > 3})


def _short(word: str) -> str:
    key = key_of(word)
    if len(key) > 4 and key.endswith("s") and not key.endswith("ss"):
        key = key[:-1]
    return SHORT_FORMS.get(key, key)


@lru_cache(4096)
def _keys(value: str) -> tuple[str, ...]:
    return tuple(_short(word) for word in _WORD.findall(fold(value)))


def find_address(text: FoldedText, value: str) -> Iterator[Offsets]:
    """The whole address, its street line, town and post code; parts that stand together are one finding."""
    stated = value.replace("^", ", ")
    parts = [part.strip() for part in re.split(r"[,;\n|]", stated) if part.strip()]
    found = sorted(
        {*_find(text, _keys(stated), False), *(o for n, part in enumerate(parts) for o in _part(text, part, n))}
    )
    return _chained(text.folded, found, {p for p in parts if len(p) == 2 and p.isupper()} | _states_in(stated))


def _states_in(value: str) -> set[str]:
    return {word for word in re.findall(r"\b[A-Z]{2}\b", value) if word.lower() in STATES}


def _part(text: FoldedText, part: str, position: int) -> Iterator[Offsets]:
    if code := _POST_CODE.search(part):
        yield from _post_code(text, code[0])
        part = part[: code.start()].strip(" ,.")
    if state := _LAST_STATE.search(part):
        part = part[: state.start()] if state["state"].lower() in STATES else part
    keys = _keys(part)
    if not any(key.isalpha() and len(key) > 1 for key in keys) or part.lower() in STATES or " ".join(keys) in STATES:
        return
    ends = [n for n, key in enumerate(keys) if key in STREET_TYPES and n > 0]
    if keys[0][0].isdecimal() or ends:
        yield from _street(text, keys, ends[-1] + 1 if ends else len(keys))
    elif keys[0] in _UNIT_WORDS or (keys[0] in ("po", "p") and "box" in keys):
        yield from _find(text, keys, False)
    else:
        yield from _town(text, keys, is_alone=position == 0)


def _post_code(text: FoldedText, code: str) -> Iterator[Offsets]:
    first = code[:5] if code[:5].isdecimal() else code
    for start, end in find_id(text, first):
        plus = _ZIP_PLUS.match(text.folded, end)
        yield start, plus.end() if plus else end
    if first != code:
        yield from find_id(text, code)


def _street(text: FoldedText, keys: tuple[str, ...], end: int) -> Iterator[Offsets]:
    """12 N Main St Apt 4; 12 Main; Main Street. What stands after the type is a flat, or in an address without commas a town."""
    line, rest = keys[:end], keys[end:]
    yield from _find(text, keys, False)
    yield from _find(text, line, False)
    has_number = line[0][0].isdecimal()
    name = tuple(key for key in line[has_number:] if key not in _DIRECTIONS) if len(line) > 2 else line[has_number:]
    if has_number and name:
        for middle in {name, name[:-1] if name[-1] in STREET_TYPES and len(name) > 1 else name}:
            yield from _find(text, (line[0], *middle), True)
    if len(name) > 1 and name[-1] in STREET_TYPES:
        yield from _find(text, name, True)
        yield from _find(text, line[has_number:], True)
    if rest and rest[0] not in _UNIT_WORDS and not any(key[0].isdecimal() for key in rest):
        yield from _town(text, rest, is_alone=False)


def _town(text: FoldedText, keys: tuple[str, ...], is_alone: bool) -> Iterator[Offsets]:
    """A town that is an ordinary word only as a name: Reading, and not reading; Normal only after "in" or "from"."""
    if not is_alone and len(keys) == 1 and len(keys[0]) < _SHORTEST_ALONE - 1:
        return
    if len(keys) > 1 or not _is_word(keys[0]):
        yield from _find(text, keys, len(keys) > 1 and all(map(_is_word, keys)))
        return
    for start, end in _find(text, keys, True):
        if _PREPOSITION.search(text.folded[max(0, start - 12) : start]) or re.match(
            r",\s[A-Z]", text.folded[end : end + 3]
        ):
            yield start, end


def _is_word(key: str) -> bool:
    return key in GENERIC or key in ALSO_WORDS or key in ORDINARY_WORDS or key in TOWNS_THAT_ARE_WORDS


def _chained(folded: str, found: Sequence[Offsets], states: set[str]) -> Iterator[Offsets]:
    """Parts with only a comma or their state between them as one."""
    start = end = -1
    for begin, stop in found:
        if start >= 0 and begin <= _reach(folded, end, states):
            end = max(end, stop)
            continue
        if start >= 0:
            yield start, _with_state(folded, end, states)
        start, end = begin, stop
    if start >= 0:
        yield start, _with_state(folded, end, states)


def _reach(folded: str, end: int, states: set[str]) -> int:
    at = _with_state(folded, end, states)
    gap = _NEXT_PART.match(folded, at)
    return gap.end() if gap and "\n" not in gap[0] else at


def _with_state(folded: str, end: int, states: set[str]) -> int:
    match = re.compile(r"\.?,?[ ]{1,2}([A-Z]{2})\b").match(folded, end)
    return match.end() if match and match[1] in states else end


def find_facility(text: FoldedText, value: str) -> Iterator[Offsets]:
    """The whole name, the name without its kind if that tells it, and its letters."""
    stated = value.split("^")[0]
    keys = _keys(stated)
    if not keys or all(_says_nothing(key) for key in keys):
        return
    yield from _find(text, keys, len(keys) == 1 and _is_word(keys[0]))
    rest = keys
    while len(rest) > 1 and rest[-1] in KINDS_OF_PLACE:
        rest = rest[:-1]
    if rest != keys:
        yield from _short_facility(text, rest)
    yield from _acronym(text, stated)


def _short_facility(text: FoldedText, rest: tuple[str, ...]) -> Iterator[Offsets]:
    rest = rest[1:] if rest[0] == "the" else rest
    if not rest or all(key in GENERIC for key in rest) or (len(rest) == 1 and len(rest[0]) < _SHORTEST_ALONE):
        return
    if len(rest) > 1 or not _is_word(rest[0]):
        yield from _find(text, rest, all(map(_is_word, rest)))
        return
    for start, end in _find(text, rest, True):
        if _PREPOSITION.search(text.folded[max(0, start - 12) : start]):
            yield start, end


def _says_nothing(key: str) -> bool:
    is_clinical = key in ORDINARY_WORDS or key.upper() in HEADING_WORDS or key.upper() in ABBREVIATIONS
    return key in GENERIC or key in NO_NAMES or is_clinical or key.isdecimal()


def _acronym(text: FoldedText, stated: str) -> Iterator[Offsets]:
    """MGH of Mercy General Hospital, unless the letters mean something in a note."""
    words = re.findall(r"[^\W\d_]+(?:'\w+)?", fold(stated))
    letters = "".join(word[0] for word in words if word.lower() not in _SMALL).upper()
    if len(letters) >= _SHORTEST_ACRONYM and letters not in ABBREVIATIONS:
        found = (text.word(place) for place in text.places.get(letters.lower(), ()))
        yield from ((word.start, word.end) for word in found if word.written[: len(letters)].isupper())
