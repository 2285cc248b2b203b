"""Finds a unit in an output that its number does not have in the input: mg for mcg is a thousandfold dose.

Owns the units, and which spellings are one. Converts nothing: 0.5 g for 500 mg is a number that the input lacks.
"""

import re
from collections import Counter
from pathlib import Path

from fine_tune_assets.core.word_lists import read_lists, read_variants
from fine_tune_assets.quantities.numbers import located_numbers

SPELLINGS = read_variants(read_lists(Path(__file__).parent / "reference" / "units.txt")["units"])
_UNIT_OF = {spelling: unit for unit, spellings in SPELLINGS.items() for spelling in spellings}
# Spelled out in a transcript: "five M G".
_UNIT_OF |= {" ".join(unit): unit for unit in ("mg", "mcg", "kg", "ml", "mm", "cm", "iu")} | {"c c": "ml"}
_ONE = "|".join(re.escape(spelling) for spelling in sorted(_UNIT_OF, key=len, reverse=True))
_UNIT = re.compile(rf"(?:{_ONE})(?:\s?(?:/|per)\s?(?:{_ONE}|min))?(?![a-z])", re.IGNORECASE)
_GAP = re.compile(r"[\s-]{0,2}")
_UNSAID = frozenset({"%", "bpm", "mmhg", "f", "year"})
"""Units that people leave out when they speak: "her pressure is 120 over 80"."""


def unsupported_units(output: str, input_text: str) -> list[str]:
    """Numbers with a unit of `output`, as they stand there, that `input_text` holds with other units only; each once.

    A number that stands bare in the input takes any unit that the input names, or that goes without saying.

    >>> unsupported_units("Take 40 mcg.", "forty milligrams a day")
    ['40 mcg']
    """
    held = measures_in(input_text)
    found: dict[str, None] = {}
    for values, start, end in located_numbers(output):
        unit, unit_end = _unit_at(output, end)
        beside = set[str]().union(*(held.get(value, set()) for value in values))
        if (
            unit
            and beside
            and not any(is_same_unit(unit, other) for other in beside)
            and not ("" in beside and unit in _named(input_text))
        ):
            found.setdefault(" ".join(output[start:unit_end].split()))
    return list(found)


def measures_in(text: str) -> dict[str, set[str]]:
    """Every value that a number of the text can be read as → the units that stand behind it; "" for none."""
    held: dict[str, set[str]] = {}
    for values, _, end in located_numbers(text):
        unit, _ = _unit_at(text, end)
        for value in values:
            held.setdefault(value, set()).add(unit)
    return held


def counted_measures(text: str) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """How often each number stands in a text, and each number with each unit; how often it is taken is no part of a unit."""
    numbers: Counter[str] = Counter()
    measures: Counter[tuple[str, str]] = Counter()
    for values, _, end in located_numbers(text):
        number, unit = min(values, default=""), _unit_at(text, end)[0].split("/")[0]
        numbers[number] += 1
        if unit:
            measures[number, unit] += 1
    return numbers, measures


def _named(text: str) -> set[str]:
    return {_normal(match.group()) for match in _UNIT.finditer(text)} | _UNSAID


def _unit_at(text: str, place: int) -> tuple[str, int]:
    """The unit that stands right behind a place, "" if none does, and where it ends."""
    gap = _GAP.match(text, place)
    match = _UNIT.match(text, gap.end() if gap else place)
    return (_normal(match.group()), match.end()) if match else ("", place)


def is_same_unit(unit: str, other: str) -> bool:
    """25 mg per week is 25 mg: how often is another number."""
    return unit == other or (("/" in unit) != ("/" in other) and unit.split("/")[0] == other.split("/")[0])


def _normal(written: str) -> str:
    parts = re.split(r"\s?(?:/|\bper\b)\s?", written.lower())
    return "/".join(_UNIT_OF.get(" ".join(part.split()), part.strip()) for part in parts)
