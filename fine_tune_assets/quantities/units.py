"""Finds numbers whose unit in an output differs from the input: mg instead of mcg is a thousandfold dose.

Recognizes spellings of the same unit, but does not convert: 0.5 g for 500 mg counts as a number missing from the input.
"""

import re
from collections import Counter
from pathlib import Path

from fine_tune_assets.core.word_lists import read_lists, read_variants
from fine_tune_assets.quantities.numbers import locate_numbers

SPELLINGS = read_variants(read_lists(Path(__file__).parent / "reference" / "units.txt")["units"])
_UNIT_BY_SPELLING = {spelling: unit for unit, spellings in SPELLINGS.items() for spelling in spellings}
# Spelled out in a transcript: "five M G".
_UNIT_BY_SPELLING |= {" ".join(unit): unit for unit in ("mg", "mcg", "kg", "ml", "mm", "cm", "iu")} | {"c c": "ml"}
_SPELLING = "|".join(re.escape(spelling) for spelling in sorted(_UNIT_BY_SPELLING, key=len, reverse=True))
_UNIT = re.compile(rf"(?:{_SPELLING})(?:\s?(?:/|per)\s?(?:{_SPELLING}|min))?(?![a-z])", re.IGNORECASE)
_GAP = re.compile(r"[\s-]{0,2}")
_IMPLIED_UNITS = frozenset({"%", "bpm", "mmhg", "f", "year"})
"""Units that speakers omit: "her pressure is 120 over 80"."""


def find_unsupported_units(output: str, input_text: str) -> list[str]:
    """Numbers with a unit in `output`, as written there, that `input_text` states only with other units; without repeats.

    A number without a unit in the input matches any unit that the input mentions, or that speakers omit.

    >>> find_unsupported_units("Take 40 mcg.", "forty milligrams a day")
    ['40 mcg']
    """
    input_measures = read_measures(input_text)
    found: dict[str, None] = {}
    for values, start, end in locate_numbers(output):
        unit, unit_end = _read_unit_at(output, end)
        input_units = set[str]().union(*(input_measures.get(value, set()) for value in values))
        if (
            unit
            and input_units
            and not any(is_same_unit(unit, other) for other in input_units)
            and not ("" in input_units and unit in _read_units(input_text))
        ):
            found.setdefault(" ".join(output[start:unit_end].split()))
    return list(found)


def read_measures(text: str) -> dict[str, set[str]]:
    """Each possible value of a number in the text → the units that follow it; "" for none."""
    measures: dict[str, set[str]] = {}
    for values, _, end in locate_numbers(text):
        unit, _ = _read_unit_at(text, end)
        for value in values:
            measures.setdefault(value, set()).add(unit)
    return measures


def count_measures(text: str) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Counts of each number, and of each number with its unit. Frequencies are not part of a unit."""
    numbers: Counter[str] = Counter()
    measures: Counter[tuple[str, str]] = Counter()
    for values, _, end in locate_numbers(text):
        number, unit = min(values, default=""), _read_unit_at(text, end)[0].split("/")[0]
        numbers[number] += 1
        if unit:
            measures[number, unit] += 1
    return numbers, measures


def _read_units(text: str) -> set[str]:
    return {_normalize_unit(match.group()) for match in _UNIT.finditer(text)} | _IMPLIED_UNITS


def _read_unit_at(text: str, place: int) -> tuple[str, int]:
    """The unit directly after a position and its end; "" if there is none."""
    gap = _GAP.match(text, place)
    match = _UNIT.match(text, gap.end() if gap else place)
    return (_normalize_unit(match.group()), match.end()) if match else ("", place)


def is_same_unit(unit: str, other: str) -> bool:
    """Whether the units match without frequencies: 25 mg per week is 25 mg."""
    return unit == other or (("/" in unit) != ("/" in other) and unit.split("/")[0] == other.split("/")[0])


def _normalize_unit(written: str) -> str:
    parts = re.split(r"\s?(?:/|\bper\b)\s?", written.lower())
    return "/".join(_UNIT_BY_SPELLING.get(" ".join(part.split()), part.strip()) for part in parts)
