"""Extracts the medicines of a text, with the doses and frequency next to each.

A medicine is a listed word, a word with an ending such as -pril, or an unlisted word directly before a dose.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fine_tune_assets.claims.clinical_lists import clinical_lists
from fine_tune_assets.claims.frequencies import Frequency, extract_frequencies
from fine_tune_assets.claims.medicine_names import find_generic_name, is_medicine
from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.quantities.numbers import locate_numbers
from fine_tune_assets.quantities.units import SPELLINGS

_MASSES: Final = ("mg", "mcg", "g", "unit", "meq", "ml")
_UNIT_BY_SPELLING: Final = {spelling: unit for unit in _MASSES for spelling in SPELLINGS[unit]} | {
    **{" ".join(unit): unit for unit in ("mg", "mcg")},
    **dict.fromkeys(
        ("tablet", "tablets", "tab", "tabs", "pill", "pills", "capsule", "capsules", "cap", "caps"), "tablet"
    ),
    **dict.fromkeys(("puff", "puffs", "spray", "sprays"), "puff"),
    **dict.fromkeys(("drop", "drops", "gtt"), "drop"),
}
_UNIT: Final = re.compile(
    rf"[\s-]{{0,2}}(?P<unit>{'|'.join(sorted(map(re.escape, _UNIT_BY_SPELLING), key=len, reverse=True))})(?![a-z])"
    r"(?!\s?(?:/|per\b)\s?(?:d?l|dec|lit|kg|kilo|ml|mil|cc|min|m2|1))",
    re.IGNORECASE,
)
"""A unit of dose. Followed by another unit (mg/dL, mg/kg), it is a measured value, or not yet a dose."""
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z-]*[A-Za-z]")
_LAST_WORD: Final = re.compile(r"(?<![A-Za-z-])(?P<word>[A-Za-z][A-Za-z-]+[A-Za-z])\s*\Z")
_BREAK: Final = re.compile(r"[?!;]|\.(?=\s+[A-Z\[])|\n")
_LINK_TO_MEDICINE: Final = compile_bounded(
    r"(?:\s|tablets?|capsules?|pills?|of|po|oral|iv|im|daily|the|a|her|his|worth|dose|extra[- ]strength)*\Z",
    re.IGNORECASE,
)
"""Text between a dose and its medicine: "10 mg of methadone"."""
_LINK_TO_DOSE: Final = compile_bounded(
    r"(?:[\s,:(-]|tablets?|xr|er|sr|cr|xl|hct|inhaler|solution|at|to|of|is|about|uh|um)*\Z", re.IGNORECASE
)
_MAX_DISTANCE_CHARACTERS: Final = 45
"""Maximum characters from a medicine or its dose to what belongs to it."""
_MAX_DISTANCE_WITHOUT_DOSE: Final = 14
"""Maximum characters from a medicine without a dose to its frequency: "Flovent twice a day"."""
_NON_NAMES: Final = frozenset(clinical_lists("prescriptions")["no_names"])
"""Words before a dose that do not name a medicine."""
_MIN_NAME_LETTERS: Final = 4


@dataclass(frozen=True)
class Dose:
    values: frozenset[str]
    """Every possible value of the number."""
    unit: str
    start: int
    end: int


@dataclass(frozen=True)
class Prescription:
    """A medicine at one position in a text."""

    name: str
    """The generic name if known, in lower case."""
    written: str
    """As written, in lower case."""
    start: int
    end: int
    doses: tuple[Dose, ...]
    """The doses next to it."""
    frequency: Frequency | None
    is_listed: bool
    """False for an unlisted word that counts only because of its dose."""


@dataclass(frozen=True)
class _Mention:
    name: str
    start: int
    end: int
    is_listed: bool = True


def extract_prescriptions(text: str, aliases: Mapping[str, str] | None = None) -> list[Prescription]:
    """Every medicine in the text, in order, including unlisted words before a dose.

    `aliases` maps further lower-case words to the medicine that they mean here. If it is given, no other unlisted word counts,
    because people say "giving you 40 mg".
    """
    doses = list(_find_doses(text))
    named = list(_find_mentions(text, aliases or {}))
    named = named if aliases is not None else _add_unlisted(text, named, doses)
    own: dict[int, list[Dose]] = {}
    for dose in doses:
        owner = _find_owner(text, named, dose)
        if owner is not None:
            own.setdefault(owner, []).append(dose)
    frequencies = list(extract_frequencies(text)) if named else []
    limits = [*(one.start for one in named), len(text)][1:]
    return [
        Prescription(
            one.name,
            text[one.start : one.end].lower(),
            one.start,
            one.end,
            tuple(own.get(at, ())),
            _find_frequency(text, one, own.get(at, []), limit, frequencies),
            one.is_listed,
        )
        for at, (one, limit) in enumerate(zip(named, limits, strict=True))
    ]


def _find_mentions(text: str, aliases: Mapping[str, str]) -> Iterator[_Mention]:
    for match in _WORD.finditer(text):
        word = match.group().lower()
        if word in aliases:
            yield _Mention(aliases[word], match.start(), match.end())
        elif is_medicine(word):
            yield _Mention(find_generic_name(word), match.start(), match.end())
        elif "-" in word:  # hydrocodone-acetaminophen
            yield from _split_compound(match.group(), match.start(), aliases)


def _split_compound(word: str, start: int, aliases: Mapping[str, str]) -> Iterator[_Mention]:
    for part in re.finditer(r"[A-Za-z]+", word):
        name = part.group().lower()
        if name in aliases or is_medicine(name):
            yield _Mention(aliases.get(name) or find_generic_name(name), start + part.start(), start + part.end())


def _find_doses(text: str) -> Iterator[Dose]:
    for values, start, end in locate_numbers(text):
        unit = _UNIT.match(text, end)
        if unit and values:
            yield Dose(frozenset(values), _UNIT_BY_SPELLING[" ".join(unit["unit"].lower().split())], start, unit.end())


def _add_unlisted(text: str, named: list[_Mention], doses: Sequence[Dose]) -> list[_Mention]:
    """Add unlisted words that are directly followed by a dose in mg."""
    taken = {one.end for one in named}
    found = []
    for dose in doses:
        before = _find_word_before(text, dose.start)
        if dose.unit not in ("mg", "mcg") or not before or before.end() in taken:
            continue
        name = before.group().lower()
        if len(name) >= _MIN_NAME_LETTERS and name not in _NON_NAMES:
            found.append(_Mention(name, before.start(), before.end(), False))
    return sorted([*named, *found], key=lambda one: one.start) if found else named


def _find_word_before(text: str, place: int) -> re.Match[str] | None:
    start = max(0, place - 30)
    joined = _LAST_WORD.search(text[start:place])
    return _WORD.match(text, start + joined.start("word")) if joined else None


def _find_owner(text: str, named: Sequence[_Mention], dose: Dose) -> int | None:
    """Index of the medicine that a dose belongs to: one directly before it, directly after it, or earlier in the sentence."""
    before = max((at for at, one in enumerate(named) if one.end <= dose.start), default=None)
    if before is not None and _is_linked(_LINK_TO_DOSE, text, named[before].end, dose.start):
        return before
    after = 0 if before is None else before + 1
    if after < len(named) and _is_linked(_LINK_TO_MEDICINE, text, dose.end, named[after].start):
        return after
    if before is not None and _is_near(text, named[before].end, dose.start, _MAX_DISTANCE_CHARACTERS):
        return before
    return None


def _is_linked(pattern: re.Pattern[str], text: str, start: int, end: int) -> bool:
    return 0 <= end - start <= _MAX_DISTANCE_CHARACTERS and pattern.match(text, start, end) is not None


def _find_frequency(
    text: str, named: _Mention, doses: Sequence[Dose], limit: int, frequencies: Sequence[Frequency]
) -> Frequency | None:
    """The first frequency after a medicine and its doses, before the next medicine."""
    start = max([named.end, *(dose.end for dose in doses)])
    reach = _MAX_DISTANCE_CHARACTERS if doses else _MAX_DISTANCE_WITHOUT_DOSE
    for found in frequencies:
        if start <= found.start < limit:
            return found if _is_near(text, start, found.start, reach) else None
    return None


def _is_near(text: str, start: int, end: int, reach: int) -> bool:
    return end - start <= reach and _BREAK.search(text, start, end) is None
