"""Extracts the statements of an output, and decides whether two outputs contradict each other."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from fine_tune_assets.claims.negations import Finding, extract_findings, find_reversed_findings
from fine_tune_assets.claims.sides import Side, extract_sides, find_missing_sides
from fine_tune_assets.quantities.numbers import read_numbers
from fine_tune_assets.quantities.stated_dates import Day, blank_dates, is_same_date, read_dates, read_relative_days
from fine_tune_assets.quantities.units import count_measures, is_same_unit, read_measures

MIN_WORD_SIMILARITY = 0.5
"""Minimum Jaccard similarity of the words of two outputs that agree; for short outputs it is mostly 0 or 1."""


@dataclass(frozen=True)
class Statements:
    """The comparable statements of an output."""

    normalized_text: str
    words: frozenset[str]
    numbers: frozenset[str]
    measures: Mapping[str, set[str]]
    days: Sequence[Sequence[Day]]
    """Each date with its possible readings."""
    relative_days: set[str]
    sides: Sequence[Side]
    findings: Sequence[Finding]


def extract_statements(output: str, checks: Collection[str]) -> Statements:
    """The statements of the kinds that `checks` of the domain pack look up; sides and findings are clinical."""
    words = normalize_text(output)
    return Statements(
        normalized_text=words,
        words=frozenset(words.split()),
        numbers=frozenset(read_numbers(blank_dates(output))),
        measures=read_measures(output),
        days=[readings for readings, _ in read_dates(output)],
        relative_days=read_relative_days(output),
        sides=extract_sides(output) if "sides" in checks else (),
        findings=list(extract_findings(output)) if "negations" in checks else (),
    )


def is_contradiction(a: Statements, b: Statements) -> bool:
    """Whether two outputs for the same input contradict each other, as far as their words show."""
    if a.normalized_text == b.normalized_text:
        return False
    return has_conflicting_facts(a, b) or len(a.words & b.words) < MIN_WORD_SIMILARITY * len(a.words | b.words)


def has_conflicting_facts(a: Statements, b: Statements) -> bool:
    """Whether the outputs state different values for the same kind of fact, whatever else they say."""
    if find_reversed_findings(a.findings, b.findings) or find_reversed_findings(b.findings, a.findings):
        return True
    # Both must state a value that the other lacks: a fact in only one of them is not a contradiction.
    if a.numbers - b.numbers and b.numbers - a.numbers:
        return True
    if _has_conflicting_days(a, b) and _has_conflicting_days(b, a):
        return True
    return _has_conflicting_units(a, b) or _has_conflicting_sides(a, b)


def has_swapped_values(a: str, b: str) -> bool:
    """Whether two nearly equal outputs differ by a number or measure that replaces another one.

    Counts occurrences, so that a swap is found even if both values occur elsewhere in both texts.

    >>> has_swapped_values("Took 4 mg of one and 9 mg of the other.", "Took 9 mg of one and 9 mg of the other.")
    True
    """
    counted = zip(*(count_measures(blank_dates(output)) for output in (a, b)), strict=True)
    return any(one - other and other - one for one, other in counted)


def normalize_text(text: str) -> str:
    """Words and numbers, ignoring case, punctuation and white space."""
    return " ".join(re.findall(r"\w+(?:[.,]\d+)*", text.lower()))


def _has_conflicting_days(a: Statements, b: Statements) -> bool:
    if a.relative_days - b.relative_days:
        return True
    known = [day for readings in b.days for day in readings]
    return any(not any(is_same_date(day, other) for day in readings for other in known) for readings in a.days)


def _has_conflicting_units(a: Statements, b: Statements) -> bool:
    """Whether a number has units in both outputs, but none in common."""
    for value in a.measures.keys() & b.measures.keys():
        units, others = a.measures[value] - {""}, b.measures[value] - {""}
        if units and others and not any(is_same_unit(unit, other) for unit in units for other in others):
            return True
    return False


def _has_conflicting_sides(a: Statements, b: Statements) -> bool:
    if find_missing_sides(a.sides, b.sides) and find_missing_sides(b.sides, a.sides):
        return True
    # Both mention a site equally often, but with different sides: one of two knees differs.
    here, there = (Counter((side.site, side.side) for side in output.sides) for output in (a, b))
    times, others = (Counter(side.site for side in output.sides) for output in (a, b))
    return any(times[site] == others[site] for site, _ in here - there)
