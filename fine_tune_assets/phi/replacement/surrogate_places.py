"""Turns places and sites of care into invented ones of the same form.

Owns how an address and the name of a site are taken apart, and what of them may stay. Does not know persons or numbers' ranges.
"""

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fine_tune_assets.phi.replacement.keyed_draws import (
    Draws,
    IsTaken,
    KeyedSource,
    first_free,
    normalise,
    pick,
    unusable_for,
)
from fine_tune_assets.phi.replacement.surrogate_names import like_case
from fine_tune_assets.phi.replacement.surrogate_numbers import identifiers
from fine_tune_assets.phi.spans.spans import substitute
from fine_tune_assets.phi.spans.word_lists import (
    AREA_WORDS,
    BUILDING_WORDS,
    COUNTRIES,
    HEADS,
    MIDDLES,
    SITE_WORDS,
    STATE_CODES,
    STATE_NAMES,
    STREET_WORDS,
    TAILS,
    USA,
)

MOST_PEOPLE_HIDDEN = 20_000
"""An area with so many people or fewer becomes 000."""
_POPULATION = Path(__file__).parents[1] / "reference" / "zip3_population.csv"
_WORD = re.compile(r"\d+(?:st|nd|rd|th)\b|[^\W_]+(?:['’ʼ‘.&][^\W_]+)*\.?", re.IGNORECASE)
_LINKS = frozenset({"of", "at", "in", "and", "the", "for", "on", "near", "de", "la", "du", "des", "del", "do", "da"})
_ZIP = re.compile(r"(?<![\w-])\d{5}(?:[-\s]\d{4})?(?![\w-])")
_POSTCODE = re.compile(r"\b(?:[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2}|[A-Z]\d[A-Z]\s?\d[A-Z]\d)\b", re.IGNORECASE)
_CODE = re.compile(r"[A-Z\d]*\d[A-Z\d-]*", re.IGNORECASE)
_AFTER_CODE = re.compile(r" *[,;\n]|\s+[A-Z]{3}\b")
_ENDS_WITH_UNIT = re.compile(r"\b(?:box|apt|suite|unit|ste)\.?\s*#?$", re.IGNORECASE)
_STREET = re.compile(rf"\b(?:{STREET_WORDS})\b\.?", re.IGNORECASE)
_UNIT = re.compile(
    r"(?:\b(?:apt|apartment|suite|ste|unit|room|rm|floor|fl|bldg|building|lot)\b\.?|#)\s*#?\s*[\w-]+", re.IGNORECASE
)
_BOX = re.compile(r"\bP\.?\s?O\.?\s?Box\b\s*#?\s*\w+|\bBox\s+\d+", re.IGNORECASE)


@dataclass(frozen=True)
class PlaceMap:
    """The places of one patient's texts. With `keeps_towns`, towns, states and ZIP codes stay and street lines go."""

    source: KeyedSource
    is_taken: IsTaken
    keeps_towns: bool
    used: Callable[[str], None]
    """Receives each invented name, normalised."""

    def place(self, name: str) -> str:
        """An invented name for a town, a street or a site, capitalised."""
        return self._first_free(name, places(self.source.draws("place", normalise(name))))

    def code(self, code: str) -> str:
        """A postcode of the same form."""
        return self._first_free(code, identifiers(code, self.source))

    def _first_free(self, original: str, candidates: Iterator[str]) -> str:
        new = first_free("LOCATION", candidates, unusable_for(original, self.is_taken))
        self.used(normalise(new))
        return new

    def number(self, text: str) -> str:
        """A house, room or box number of the same length."""
        return first_free("LOCATION", identifiers(text, self.source), lambda new: normalise(new) == normalise(text))


def places(draw: Draws) -> Iterator[str]:
    """Invented place names, without end."""
    while True:
        for middles in ("", pick(draw, MIDDLES), pick(draw, MIDDLES) + pick(draw, MIDDLES)):
            for _ in range(60):
                yield pick(draw, HEADS) + middles + pick(draw, TAILS)


def replace_location(text: str, places: PlaceMap) -> str:
    """An address or a place, component by component."""
    is_abroad = any(_plain_place(part) in COUNTRIES - USA for part in re.split(r"[,;\n\r()]+", _CODE.sub(" ", text)))
    pieces: list[str] = []
    at = 0
    for start, end in [*_codes(text), (len(text), len(text))]:
        pieces.append(_components(text[at:start], places))
        pieces.append(_code(text[start:end], is_abroad, places))
        at = end
    return "".join(pieces)


def _codes(text: str) -> list[tuple[int, int]]:
    """Where ZIP codes and postcodes are: alone, at the end of a line, or after a state. A number before words is a house's."""
    found = [m.span() for m in _POSTCODE.finditer(text)]
    for match in _ZIP.finditer(text):
        before, after = text[: match.start()].rstrip(" ,\n"), text[match.end() :]
        is_in_place = not before or before[-1:].isalpha() or before.endswith(".")
        is_last = not after.strip() or _AFTER_CODE.match(after) is not None
        if is_last and is_in_place and not _ENDS_WITH_UNIT.search(before):
            found.append(match.span())
    return sorted(found)


def generalise_zip(zip_code: str) -> str:
    """94110 and 94110-1234 become 941XX; in an area of few people, or one that the census does not have, 000XX.

    45 CFR 164.514(b)(2)(i)(B).
    """
    prefix = zip_code[:3]
    return f"{prefix if prefix in open_areas() else '000'}XX"


@cache
def open_areas() -> frozenset[str]:
    """The three-digit areas with more than 20,000 people."""
    return frozenset(prefix for prefix, people in populations().items() if people > MOST_PEOPLE_HIDDEN)


@cache
def populations() -> dict[str, int]:
    """Three-digit area → people. The source of the file is beside it."""
    with _POPULATION.open(encoding="utf-8", newline="") as file:
        return {row["zip3"]: int(row["population"]) for row in csv.DictReader(file)}


def _code(text: str, is_abroad: bool, places: PlaceMap) -> str:
    if not text or places.keeps_towns:
        return text
    if _ZIP.fullmatch(text) and not is_abroad:
        return generalise_zip(text)
    return places.code(text)


def _components(text: str, places: PlaceMap) -> str:
    parts = re.split(r"([,;\n\r()]+)", text)
    lines = [i for i, part in enumerate(parts) if i % 2 == 0 and part.strip()]
    for index in lines:
        after = [parts[i] for i in lines if i > index]
        # A state stands last, or before its country.
        may_be_state = all(_plain_place(part) in COUNTRIES for part in after)
        is_first = index == lines[0]
        parts[index] = _component(parts[index], may_be_state, is_first, places)
    return "".join(parts)


def _component(text: str, may_be_state: bool, is_first: bool, places: PlaceMap) -> str:
    body = text.strip()
    start = text.index(body)
    kept = _state_or_country(body, is_first) if may_be_state else ""
    rest = body[: len(body) - len(kept)]
    return text[:start] + _line(rest, places) + kept + text[start + len(body) :]


def _state_or_country(text: str, is_first: bool) -> str:
    """The part at the end that is a state or a country, as it stands there, or "".

    New York and Washington with nothing in front may be the towns, so they go.
    """
    plain = _plain_place(text)
    if plain in COUNTRIES or plain in STATE_NAMES:
        return "" if is_first and plain in {"new york", "washington"} else text
    code = re.search(r"(?:^|(?<=\s))[A-Z]{2}\.?$", text)
    return code[0] if code and code[0].strip(".") in STATE_CODES else ""


def _plain_place(text: str) -> str:
    return " ".join(text.strip(" .\n\r\t").lower().split())


def _line(text: str, places: PlaceMap) -> str:
    """A street, a box, a unit, or a town."""
    box = _BOX.search(text)
    if box:
        return _words(text, BUILDING_WORDS, places)
    unit = _UNIT.search(text)
    if unit:
        before, after = _line(text[: unit.start()], places), _line(text[unit.end() :], places)
        return before + _words(unit[0], BUILDING_WORDS, places) + after
    streets = list(_STREET.finditer(text))
    is_street = bool(streets) and (text[:1].isdigit() or bool(text[: streets[-1].start()].strip()))
    if is_street:
        end = _end_of_street(text, streets)
        return _street(text[:end], places) + _line(text[end:], places)
    if any(c.isdigit() for c in text):
        return _street(text, places)
    return _town(text, places)


def _end_of_street(text: str, streets: list[re.Match[str]]) -> int:
    """After a street word, the words that follow are a town, if the street has a number: "24 Clarke Avenue Boston"."""
    return next((m.end() for m in streets if text[: m.start()].strip(" \t").strip("0123456789 ")), streets[-1].end())


def _street(text: str, places: PlaceMap) -> str:
    return _words(text, frozenset(STREET_WORDS.lower().split("|")) | BUILDING_WORDS, places)


def _town(text: str, places: PlaceMap) -> str:
    is_building = any(normalise(w) in BUILDING_WORDS for w in _WORD.findall(text))
    if places.keeps_towns and not is_building:
        return text
    made = _words(text, AREA_WORDS | BUILDING_WORDS, places)
    # A town that is called as a kind of place is: Hall, Village.
    return made if made != text or not text[:1].isupper() else _words(text, frozenset(), places)


def replace_facility(text: str, places: PlaceMap) -> str:
    """The same kind of site under an invented name: what says the kind stays, and a name of kinds only gets one in front."""
    made = _words(text, SITE_WORDS, places)
    if normalise(made) != normalise(text):
        return made
    name = places.place(text)
    is_capital = text == text.upper()
    return f"{name.upper() if is_capital else name} {text}"


def _words(text: str, kept: frozenset[str], places: PlaceMap) -> str:
    """Every run of words that are not `kept` becomes one invented name, every number another one."""

    def invented(original: str, is_number: bool) -> str:
        return places.number(original) if is_number else _in_case(original, text, places.place(original))

    return substitute(
        text, [((start, end), invented(text[start:end], is_number)) for start, end, is_number in _runs(text, kept)]
    )


def _in_case(original: str, whole: str, name: str) -> str:
    """An abbreviation among capitalised words (UCLA Medical Center) is no reason to write in capitals."""
    has_form = not original[:1].isdigit() and (original != original.upper() or whole == whole.upper())
    return like_case(original, name) if has_form else name


def _runs(text: str, kept: frozenset[str]) -> Iterator[tuple[int, int, bool]]:
    """Offsets of names and of numbers. "of" and "the" go with a name only between two words of it."""
    start = end = -1
    for match in _WORD.finditer(text):
        word = match[0]
        is_number = word[:1].isdigit() and not re.fullmatch(r"\d+(?:st|nd|rd|th)", word, re.IGNORECASE)
        is_kept = word.lower().strip(".") in kept or normalise(word) in kept
        has_break = start >= 0 and any(c in "\r\n,;()" for c in text[end : match.start()])
        if is_number or is_kept or has_break:
            if start >= 0:
                yield start, end, False
            start = -1
        if is_number:
            yield match.start(), match.end(), True
        elif not is_kept and not (start < 0 and word.lower() in _LINKS):
            start = match.start() if start < 0 else start
            end = match.end() if word.lower() not in _LINKS else end
    if start >= 0:
        yield start, end, False
