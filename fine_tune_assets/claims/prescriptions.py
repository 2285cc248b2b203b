"""Reads which medicines a text names, and with each the doses and the frequency that stand beside it.

Owns what is a medicine (a list, endings such as -pril, or an unlisted word right before a dose) and what belongs to it. Does not
know what another text says of it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fine_tune_assets.claims.frequencies import Frequency, frequencies_in
from fine_tune_assets.claims.medicine_names import generic_name, is_medicine
from fine_tune_assets.core.word_lists import pack_lists
from fine_tune_assets.quantities.numbers import located_numbers
from fine_tune_assets.quantities.units import SPELLINGS

_MASSES: Final = ("mg", "mcg", "g", "unit", "meq", "ml")
_UNIT_OF: Final = {spelling: unit for unit in _MASSES for spelling in SPELLINGS[unit]} | {
    **{" ".join(unit): unit for unit in ("mg", "mcg")},
    **dict.fromkeys(
        ("tablet", "tablets", "tab", "tabs", "pill", "pills", "capsule", "capsules", "cap", "caps"), "tablet"
    ),
    **dict.fromkeys(("puff", "puffs", "spray", "sprays"), "puff"),
    **dict.fromkeys(("drop", "drops", "gtt"), "drop"),
}
_UNIT: Final = re.compile(
    rf"[\s-]{{0,2}}(?P<unit>{'|'.join(sorted(map(re.escape, _UNIT_OF), key=len, reverse=True))})(?![a-z])"
    r"(?!\s?(?:/|per\b)\s?(?:d?l|dec|lit|kg|kilo|ml|mil|cc|min|m2|1))",
    re.IGNORECASE,
)
"""A unit in which medicines are counted. With another one below it (mg/dL, mg/kg) it is a measured value, or no dose yet."""
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z-]*[A-Za-z]")
_LAST_WORD: Final = re.compile(r"(?<![A-Za-z-])(?P<word>[A-Za-z][A-Za-z-]+[A-Za-z])\s*\Z")
_BREAK: Final = re.compile(r"[?!;]|\.(?=\s+[A-Z\[])|\n")
_JOINED_BEHIND: Final = re.compile(
    r"(?:\s|tablets?|capsules?|pills?|of|po|oral|iv|im|daily|the|a|her|his|worth|dose|extra[- ]strength)*\Z",
    re.IGNORECASE,
)
"""Between a dose and the medicine that it is of: "10 mg of methadone"."""
_JOINED_BEFORE: Final = re.compile(
    r"(?:[\s,:(-]|tablets?|xr|er|sr|cr|xl|hct|inhaler|solution|at|to|of|is|about|uh|um)*\Z", re.IGNORECASE
)
_REACH: Final = 45
"""Characters from a medicine, or its dose, to what still belongs to it."""
_CLOSE: Final = 14
"""From a medicine without a dose to its frequency: "Flovent twice a day"."""
_NO_NAME: Final = frozenset(pack_lists("prescriptions")["no_names"])
"""Words before a dose that name no medicine."""
_NAME_LETTERS: Final = 4


@dataclass(frozen=True)
class Dose:
    values: frozenset[str]
    """Every value that the number can be read as."""
    unit: str
    start: int
    end: int


@dataclass(frozen=True)
class Prescription:
    """A medicine at one place of a text."""

    name: str
    """Its generic name where that is known, in small letters."""
    written: str
    """As it stands there, in small letters."""
    start: int
    end: int
    doses: tuple[Dose, ...]
    """Those that stand beside it."""
    frequency: Frequency | None
    is_listed: bool
    """False for an unlisted word that only its dose makes a medicine."""


@dataclass(frozen=True)
class _Named:
    name: str
    start: int
    end: int
    is_listed: bool = True


def prescriptions_in(text: str, aliases: Mapping[str, str] | None = None) -> list[Prescription]:
    """Every medicine of the text, in its order, unlisted words before a dose among them.

    With `aliases` (other words that name a medicine here, in small letters → its name) no unlisted word is one but these: people
    say "giving you 40 mg".
    """
    doses = list(_doses_in(text))
    named = list(_named_in(text, aliases or {}))
    named = named if aliases is not None else _with_unlisted(text, named, doses)
    own: dict[int, list[Dose]] = {}
    for dose in doses:
        owner = _owner(text, named, dose)
        if owner is not None:
            own.setdefault(owner, []).append(dose)
    frequencies = list(frequencies_in(text)) if named else []
    limits = [*(one.start for one in named), len(text)][1:]
    return [
        Prescription(
            one.name,
            text[one.start : one.end].lower(),
            one.start,
            one.end,
            tuple(own.get(at, ())),
            _frequency(text, one, own.get(at, []), limit, frequencies),
            one.is_listed,
        )
        for at, (one, limit) in enumerate(zip(named, limits, strict=True))
    ]


def _named_in(text: str, aliases: Mapping[str, str]) -> Iterator[_Named]:
    for match in _WORD.finditer(text):
        word = match.group().lower()
        if word in aliases:
            yield _Named(aliases[word], match.start(), match.end())
        elif is_medicine(word):
            yield _Named(generic_name(word), match.start(), match.end())
        elif "-" in word:  # hydrocodone-acetaminophen
            yield from _parts(match.group(), match.start(), aliases)


def _parts(word: str, start: int, aliases: Mapping[str, str]) -> Iterator[_Named]:
    for part in re.finditer(r"[A-Za-z]+", word):
        name = part.group().lower()
        if name in aliases or is_medicine(name):
            yield _Named(aliases.get(name) or generic_name(name), start + part.start(), start + part.end())


def _doses_in(text: str) -> Iterator[Dose]:
    for values, start, end in located_numbers(text):
        unit = _UNIT.match(text, end)
        if unit and values:
            yield Dose(frozenset(values), _UNIT_OF[" ".join(unit["unit"].lower().split())], start, unit.end())


def _with_unlisted(text: str, named: list[_Named], doses: Sequence[Dose]) -> list[_Named]:
    """With the words that only a dose in mg behind them makes a medicine."""
    taken = {one.end for one in named}
    found = []
    for dose in doses:
        before = _word_before(text, dose.start)
        if dose.unit not in ("mg", "mcg") or not before or before.end() in taken:
            continue
        name = before.group().lower()
        if len(name) >= _NAME_LETTERS and name not in _NO_NAME:
            found.append(_Named(name, before.start(), before.end(), False))
    return sorted([*named, *found], key=lambda one: one.start) if found else named


def _word_before(text: str, place: int) -> re.Match[str] | None:
    start = max(0, place - 30)
    joined = _LAST_WORD.search(text[start:place])
    return _WORD.match(text, start + joined.start("word")) if joined else None


def _owner(text: str, named: Sequence[_Named], dose: Dose) -> int | None:
    """Which medicine a dose is of: the one that it follows directly, or stands before directly, or follows in its sentence."""
    before = max((at for at, one in enumerate(named) if one.end <= dose.start), default=None)
    if before is not None and _is_joined(_JOINED_BEFORE, text, named[before].end, dose.start):
        return before
    after = 0 if before is None else before + 1
    if after < len(named) and _is_joined(_JOINED_BEHIND, text, dose.end, named[after].start):
        return after
    if before is not None and _is_near(text, named[before].end, dose.start, _REACH):
        return before
    return None


def _is_joined(pattern: re.Pattern[str], text: str, start: int, end: int) -> bool:
    return 0 <= end - start <= _REACH and pattern.match(text, start, end) is not None


def _frequency(
    text: str, named: _Named, doses: Sequence[Dose], limit: int, frequencies: Sequence[Frequency]
) -> Frequency | None:
    """The first frequency behind a medicine and its doses, before the next medicine."""
    start = max([named.end, *(dose.end for dose in doses)])
    reach = _REACH if doses else _CLOSE
    for found in frequencies:
        if start <= found.start < limit:
            return found if _is_near(text, start, found.start, reach) else None
    return None


def _is_near(text: str, start: int, end: int, reach: int) -> bool:
    return end - start <= reach and _BREAK.search(text, start, end) is None
