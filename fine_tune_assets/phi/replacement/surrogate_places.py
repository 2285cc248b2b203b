"""Replaces places and facilities with invented ones of the same form.

Splits an address or facility name into components and keeps those that the profile allows.
"""

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.phi.replacement.keyed_draws import (
    Draw,
    IsTaken,
    KeyedSource,
    build_unusable_check,
    normalize,
    pick,
    pick_unused,
)
from fine_tune_assets.phi.replacement.surrogate_names import match_case
from fine_tune_assets.phi.replacement.surrogate_numbers import draw_identifiers
from fine_tune_assets.phi.spans.identifier_words import (
    AREA_WORDS,
    BUILDING_WORDS,
    COUNTRIES,
    PLACE_NAME_ENDINGS,
    PLACE_NAME_MIDDLES,
    PLACE_NAME_STARTS,
    SITE_WORDS,
    STATE_CODES,
    STATE_NAMES,
    STREET_WORDS,
    USA_NAMES,
)
from fine_tune_assets.phi.spans.spans import substitute

MAX_HIDDEN_POPULATION = 20_000
"""An area with at most this many people becomes 000."""
_POPULATION = Path(__file__).parents[1] / "reference" / "zip3_population.csv"
_WORD = re.compile(r"\d+(?:st|nd|rd|th)\b|[^\W_]+(?:['’ʼ‘.&][^\W_]+)*\.?", re.IGNORECASE)
_LINK_WORDS = frozenset(
    {"of", "at", "in", "and", "the", "for", "on", "near", "de", "la", "du", "des", "del", "do", "da"}
)
_ZIP = re.compile(r"(?<![\w-])\d{5}(?:[-\s]\d{4})?(?![\w-])")
_POSTCODE = re.compile(r"\b(?:[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2}|[A-Z]\d[A-Z]\s?\d[A-Z]\d)\b", re.IGNORECASE)
_CODE = compile_bounded(r"[A-Z\d]*\d[A-Z\d-]*", re.IGNORECASE)
_AFTER_CODE = compile_bounded(r" *[,;\n]|\s+[A-Z]{3}\b")
_ENDS_WITH_UNIT = re.compile(r"\b(?:box|apt|suite|unit|ste)\.?\s*#?$", re.IGNORECASE)
_STREET = re.compile(rf"\b(?:{STREET_WORDS})\b\.?", re.IGNORECASE)
_UNIT = re.compile(
    r"(?:\b(?:apt|apartment|suite|ste|unit|room|rm|floor|fl|bldg|building|lot)\b\.?|#)\s*#?\s*[\w-]+", re.IGNORECASE
)
_BOX = re.compile(r"\bP\.?\s?O\.?\s?Box\b\s*#?\s*\w+|\bBox\s+\d+", re.IGNORECASE)


@dataclass(frozen=True)
class PlaceMap:
    """The places in one subject's texts. `keeps_towns` keeps towns, states and ZIP codes and replaces street lines."""

    source: KeyedSource
    is_taken: IsTaken
    keeps_towns: bool
    record_used: Callable[[str], None]
    """Called with each invented name, normalized."""

    def replace_place(self, name: str) -> str:
        """An invented name for a town, street or facility, capitalised."""
        return self._pick_unused(name, draw_place_names(self.source.make_draw("place", normalize(name))))

    def replace_postcode(self, code: str) -> str:
        """A postcode of the same form."""
        return self._pick_unused(code, draw_identifiers(code, self.source))

    def _pick_unused(self, original: str, candidates: Iterator[str]) -> str:
        new = pick_unused("LOCATION", candidates, build_unusable_check(original, self.is_taken))
        self.record_used(normalize(new))
        return new

    def replace_number(self, text: str) -> str:
        """A house, room or box number of the same length."""
        return pick_unused(
            "LOCATION", draw_identifiers(text, self.source), lambda new: normalize(new) == normalize(text)
        )


def draw_place_names(draw: Draw) -> Iterator[str]:
    while True:
        for middles in (
            "",
            pick(draw, PLACE_NAME_MIDDLES),
            pick(draw, PLACE_NAME_MIDDLES) + pick(draw, PLACE_NAME_MIDDLES),
        ):
            for _ in range(60):
                yield pick(draw, PLACE_NAME_STARTS) + middles + pick(draw, PLACE_NAME_ENDINGS)


def replace_location(text: str, places: PlaceMap) -> str:
    """Replace an address or place, component by component."""
    is_abroad = any(
        _normalize_place(part) in COUNTRIES - USA_NAMES for part in re.split(r"[,;\n\r()]+", _CODE.sub(" ", text))
    )
    pieces: list[str] = []
    at = 0
    for start, end in [*_find_postcodes(text), (len(text), len(text))]:
        pieces.append(_replace_components(text[at:start], places))
        pieces.append(_replace_postcode(text[start:end], is_abroad, places))
        at = end
    return "".join(pieces)


def _find_postcodes(text: str) -> list[tuple[int, int]]:
    """Offsets of ZIP codes and postcodes: alone, at the end of a line, or after a state. A number before words is a
    house number."""
    found = [m.span() for m in _POSTCODE.finditer(text)]
    for match in _ZIP.finditer(text):
        before, after = text[: match.start()].rstrip(" ,\n"), text[match.end() :]
        is_in_place = not before or before[-1:].isalpha() or before.endswith(".")
        is_last = not after.strip() or _AFTER_CODE.match(after) is not None
        if is_last and is_in_place and not _ENDS_WITH_UNIT.search(before):
            found.append(match.span())
    return sorted(found)


def generalise_zip(zip_code: str) -> str:
    """94110 and 94110-1234 become 941XX; in an area with few people, or one missing from the census, 000XX.

    45 CFR 164.514(b)(2)(i)(B).
    """
    prefix = zip_code[:3]
    return f"{prefix if prefix in load_disclosed_areas() else '000'}XX"


@cache
def load_disclosed_areas() -> frozenset[str]:
    """The three-digit areas with more than 20,000 people."""
    return frozenset(prefix for prefix, people in load_populations().items() if people > MAX_HIDDEN_POPULATION)


@cache
def load_populations() -> dict[str, int]:
    """Three-digit area → people. SOURCE.md in `reference/` documents the file."""
    with _POPULATION.open(encoding="utf-8", newline="") as file:
        return {row["zip3"]: int(row["population"]) for row in csv.DictReader(file)}


def _replace_postcode(text: str, is_abroad: bool, places: PlaceMap) -> str:
    if not text or places.keeps_towns:
        return text
    if _ZIP.fullmatch(text) and not is_abroad:
        return generalise_zip(text)
    return places.replace_postcode(text)


def _replace_components(text: str, places: PlaceMap) -> str:
    parts = re.split(r"([,;\n\r()]+)", text)
    lines = [i for i, part in enumerate(parts) if i % 2 == 0 and part.strip()]
    for index in lines:
        after = [parts[i] for i in lines if i > index]
        # The state comes last, or before the country.
        may_be_state = all(_normalize_place(part) in COUNTRIES for part in after)
        is_first = index == lines[0]
        parts[index] = _replace_component(parts[index], may_be_state, is_first, places)
    return "".join(parts)


def _replace_component(text: str, may_be_state: bool, is_first: bool, places: PlaceMap) -> str:
    body = text.strip()
    start = text.index(body)
    kept = _find_state_or_country(body, is_first) if may_be_state else ""
    rest = body[: len(body) - len(kept)]
    return text[:start] + _replace_line(rest, places) + kept + text[start + len(body) :]


def _find_state_or_country(text: str, is_first: bool) -> str:
    """The state or country at the end, as written, or "".

    A leading New York or Washington may be the town, so it is replaced.
    """
    plain = _normalize_place(text)
    if plain in COUNTRIES or plain in STATE_NAMES:
        return "" if is_first and plain in {"new york", "washington"} else text
    code = re.search(r"(?:^|(?<=\s))[A-Z]{2}\.?$", text)
    return code[0] if code and code[0].strip(".") in STATE_CODES else ""


def _normalize_place(text: str) -> str:
    return " ".join(text.strip(" .\n\r\t").lower().split())


def _replace_line(text: str, places: PlaceMap) -> str:
    """Replace a street, box, unit or town."""
    box = _BOX.search(text)
    if box:
        return _replace_words(text, BUILDING_WORDS, places)
    unit = _UNIT.search(text)
    if unit:
        before, after = _replace_line(text[: unit.start()], places), _replace_line(text[unit.end() :], places)
        return before + _replace_words(unit[0], BUILDING_WORDS, places) + after
    streets = list(_STREET.finditer(text))
    is_street = bool(streets) and (text[:1].isdigit() or bool(text[: streets[-1].start()].strip()))
    if is_street:
        end = _find_street_end(text, streets)
        return _replace_street(text[:end], places) + _replace_line(text[end:], places)
    if any(c.isdigit() for c in text):
        return _replace_street(text, places)
    return _replace_town(text, places)


def _find_street_end(text: str, streets: list[re.Match[str]]) -> int:
    """After a street word, further words are a town if the street has a number: "24 Clarke Avenue Boston"."""
    return next((m.end() for m in streets if text[: m.start()].strip(" \t").strip("0123456789 ")), streets[-1].end())


def _replace_street(text: str, places: PlaceMap) -> str:
    return _replace_words(text, frozenset(STREET_WORDS.lower().split("|")) | BUILDING_WORDS, places)


def _replace_town(text: str, places: PlaceMap) -> str:
    is_building = any(normalize(w) in BUILDING_WORDS for w in _WORD.findall(text))
    if places.keeps_towns and not is_building:
        return text
    made = _replace_words(text, AREA_WORDS | BUILDING_WORDS, places)
    # The town is named like a kind of place: Hall, Village.
    return made if made != text or not text[:1].isupper() else _replace_words(text, frozenset(), places)


def replace_facility(text: str, places: PlaceMap) -> str:
    """An invented facility of the same kind. A name made of kind words only gets a name in front."""
    made = _replace_words(text, SITE_WORDS, places)
    if normalize(made) != normalize(text):
        return made
    name = places.replace_place(text)
    is_capital = text == text.upper()
    return f"{name.upper() if is_capital else name} {text}"


def _replace_words(text: str, kept: frozenset[str], places: PlaceMap) -> str:
    """Replace each run of words outside `kept` with one invented name, and each number with another."""

    def invented(original: str, is_number: bool) -> str:
        return (
            places.replace_number(original)
            if is_number
            else _match_place_case(original, text, places.replace_place(original))
        )

    return substitute(
        text, [((start, end), invented(text[start:end], is_number)) for start, end, is_number in _find_runs(text, kept)]
    )


def _match_place_case(original: str, whole: str, name: str) -> str:
    """Use an abbreviation's capitals only if the whole text is in capitals (unlike UCLA Medical Center)."""
    has_form = not original[:1].isdigit() and (original != original.upper() or whole == whole.upper())
    return match_case(original, name) if has_form else name


def _find_runs(text: str, kept: frozenset[str]) -> Iterator[tuple[int, int, bool]]:
    """Offsets of names and numbers. "of" and "the" are included only between two words of a name."""
    start = end = -1
    for match in _WORD.finditer(text):
        word = match[0]
        is_number = word[:1].isdigit() and not re.fullmatch(r"\d+(?:st|nd|rd|th)", word, re.IGNORECASE)
        is_kept = word.lower().strip(".") in kept or normalize(word) in kept
        has_break = start >= 0 and any(c in "\r\n,;()" for c in text[end : match.start()])
        if is_number or is_kept or has_break:
            if start >= 0:
                yield start, end, False
            start = -1
        if is_number:
            yield match.start(), match.end(), True
        elif not is_kept and not (start < 0 and word.lower() in _LINK_WORDS):
            start = match.start() if start < 0 else start
            end = match.end() if word.lower() not in _LINK_WORDS else end
    if start >= 0:
        yield start, end, False
