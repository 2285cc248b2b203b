"""What an output says, read once, and when two of them can't both be right.

Owns what makes two outputs disagree. How numbers, units, dates, sides and negations are read is the business of their modules.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fine_tune_assets.claims.mentions import Finding, findings_in, turned_round
from fine_tune_assets.claims.sides import Side, sides_in, unsaid_sides
from fine_tune_assets.quantities.numbers import numbers_in
from fine_tune_assets.quantities.stated_dates import Day, agree, dates_in, relative_days_in, without_dates
from fine_tune_assets.quantities.units import counted_measures, is_same_unit, measures_in

ALIKE = 0.5
"""Jaccard similarity of words under which two outputs say different things; of short ones it is mostly 0 or 1."""


@dataclass(frozen=True)
class Said:
    """What an output says, as far as two can be compared."""

    normal: str
    words: frozenset[str]
    numbers: frozenset[str]
    measures: Mapping[str, set[str]]
    days: Sequence[Sequence[Day]]
    """Each date with every way in which it can be read."""
    relative_days: set[str]
    sides: Sequence[Side]
    findings: Sequence[Finding]


def said_by(output: str) -> Said:
    words = normal(output)
    return Said(
        normal=words,
        words=frozenset(words.split()),
        numbers=frozenset(numbers_in(without_dates(output))),
        measures=measures_in(output),
        days=[readings for readings, _ in dates_in(output)],
        relative_days=relative_days_in(output),
        sides=sides_in(output),
        findings=list(findings_in(output)),
    )


def is_contrary(a: Said, b: Said) -> bool:
    """Whether two outputs to the same input can't both be right, as far as words show."""
    if a.normal == b.normal:
        return False
    return states_otherwise(a, b) or len(a.words & b.words) < ALIKE * len(a.words | b.words)


def states_otherwise(a: Said, b: Said) -> bool:
    """Whether each states a fact that the other has otherwise, in whatever words the rest is said."""
    if turned_round(a.findings, b.findings) or turned_round(b.findings, a.findings):
        return True
    # Each says something that the other has otherwise; what only one of them says is no contradiction.
    if a.numbers - b.numbers and b.numbers - a.numbers:
        return True
    if _has_other_days(a, b) and _has_other_days(b, a):
        return True
    return _has_other_units(a, b) or _has_other_sides(a, b)


def are_near_copies_apart(a: str, b: str) -> bool:
    """Whether of two outputs that are nearly the same each has a number or a measure once more than the other.

    In near copies one was written in the other's place, also where both stand elsewhere in both texts.

    >>> are_near_copies_apart("Took 4 mg of one and 9 mg of the other.", "Took 9 mg of one and 9 mg of the other.")
    True
    """
    counted = zip(*(counted_measures(without_dates(output)) for output in (a, b)), strict=True)
    return any(one - other and other - one for one, other in counted)


def normal(text: str) -> str:
    """Words and numbers, without regard to case, signs and white space."""
    return " ".join(re.findall(r"\w+(?:[.,]\d+)*", text.lower()))


def _has_other_days(a: Said, b: Said) -> bool:
    if a.relative_days - b.relative_days:
        return True
    known = [day for readings in b.days for day in readings]
    return any(not any(agree(day, other) for day in readings for other in known) for readings in a.days)


def _has_other_units(a: Said, b: Said) -> bool:
    """Whether a number has units in both, and none in common."""
    for value in a.measures.keys() & b.measures.keys():
        units, others = a.measures[value] - {""}, b.measures[value] - {""}
        if units and others and not any(is_same_unit(unit, other) for unit in units for other in others):
            return True
    return False


def _has_other_sides(a: Said, b: Said) -> bool:
    if unsaid_sides(a.sides, b.sides) and unsaid_sides(b.sides, a.sides):
        return True
    # Both speak of a site as often, and not of the same sides: of two knees each, one is the other one.
    here, there = (Counter((side.site, side.side) for side in said.sides) for said in (a, b))
    times, others = (Counter(side.site for side in said.sides) for said in (a, b))
    return any(times[site] == others[site] for site, _ in here - there)
