"""Changes one term of a statement, and the same term of its record, so that each statement is true of one record only.

A change exchanges two terms of a kind (left and right, 20 mg and 40 mg, mother and sister). Applied to the statement alone it
plants an error; applied to the record alone it makes the unchanged statement wrong; applied to both it keeps the statement true.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Final

from fine_tune_assets.claims.medicine_names import is_listed_medicine
from fine_tune_assets.core.word_lists import read_lists, read_variants

_FILE: Final = Path(__file__).parent / "opposites.txt"
_TERMS: Final = read_lists(Path(__file__).parent / "exchange_terms.txt")
_MASS: Final = r"(?:mg|mcg|ml|units?|grams?|puffs?|tablets?|pills?)"
_DURATION: Final = r"(?:years?|months?|weeks?|days?|hours?|minutes?)"
_NUMBER: Final = re.compile(r"(?<![\w.,/-])\d{1,4}(?![\w/]|[.,-]\d)")
_MONTH: Final = "January|February|March|April|May|June|July|August|September|October|November|December"
_BEFORE_DAY: Final = re.compile(rf"(?:{_MONTH})\s+$", re.IGNORECASE)
_WORD: Final = re.compile(r"[A-Za-z]+")
_PERMUTED_SHARE: Final = 0.5
"""Share of numbers that are exchanged with another number of the same record, which is the harder error."""


@dataclass(frozen=True)
class TermChange:
    kind: str
    old: str
    new: str

    def apply(self, text: str) -> str:
        """The text with every `old` replaced by `new` and vice versa, in the letter case of what they replace."""
        pattern = rf"(?<![\w.,/-])(?:{re.escape(self.old)}|{re.escape(self.new)})(?![\w/]|[.,-]\d)"
        return re.sub(pattern, self._exchange, text, flags=re.IGNORECASE)

    def _exchange(self, match: re.Match[str]) -> str:
        other = self.new if match.group().lower() == self.old.lower() else self.old
        return other[0].upper() + other[1:] if match.group()[0].isupper() else other


Rule = Callable[[str, str, Random], Iterator[TermChange]]
"""Takes a statement, its record and a source of randomness; yields changes of terms that occur in both."""


def number_changes(statement: str, record: str, random: Random) -> Iterator[TermChange]:
    in_record = [match.group() for match in _NUMBER.finditer(record)]
    for match in _NUMBER.finditer(statement):
        value = match.group()
        if value not in in_record or value in ("0", "1"):
            continue
        others = sorted({v for v in in_record if len(v) == len(value) and v not in (value, "0", "1")} - {value})
        is_permuted = bool(others) and random.random() < _PERMUTED_SHARE
        new = random.choice(others) if is_permuted else _other_number(int(value), {*in_record, value}, random)
        yield TermChange(_kind_of_number(statement, match), value, new)


def listed_changes(statement: str, record: str, random: Random) -> Iterator[TermChange]:
    """Terms of `opposites.txt`."""
    for kind, terms in _groups():
        for term in terms:
            if _has_term(term, statement) and _has_term(term, record):
                yield TermChange(kind, term, random.choice([other for other in terms if other != term]))


def medicine_changes(statement: str, record: str, random: Random) -> Iterator[TermChange]:
    in_record = {word for word in _WORD.findall(record.lower()) if _is_drug(word)}
    for word in sorted({word for word in _WORD.findall(statement.lower()) if _is_drug(word)} & in_record):
        others = sorted(in_record - {word})
        other = random.choice(others) if others and random.random() < _PERMUTED_SHARE else random.choice(_DRUGS)
        if other != word:
            yield TermChange("medicine", word, other)


def exchanged_terms(statement: str, record: str, random: Random) -> Iterator[TermChange]:
    """Two terms of one group that the statement has both: the right words, recombined."""
    numbers = sorted({m.group() for m in _NUMBER.finditer(statement)} & {m.group() for m in _NUMBER.finditer(record)})
    drugs = sorted({w for w in _WORD.findall(statement.lower()) if _is_drug(w)} & set(_WORD.findall(record.lower())))
    groups = [numbers, drugs, *(terms for kind, terms in _groups() if kind in ("person", "side", "time", "site"))]
    for terms in groups:
        shared = [term for term in terms if _has_term(term, statement) and _has_term(term, record)]
        if len(shared) >= 2:
            yield TermChange("recombined", *random.sample(shared, 2))


RULES: Final[tuple[Rule, ...]] = (number_changes, listed_changes, medicine_changes, exchanged_terms)


def find_changes(statement: str, record: str, random: Random) -> list[TermChange]:
    """Every change that makes the statement wrong of the record and the record wrong for the statement."""
    found = []
    for rule in RULES:
        for change in rule(statement, record, random):
            if change.apply(statement) != statement and change.apply(record) != record:
                found.append(change)
    return found


def listed_words(kinds: Collection[str]) -> frozenset[str]:
    """The terms of these kinds in lower case."""
    return frozenset(term.lower() for kind, terms in _groups() if kind in kinds for term in terms)


def _kind_of_number(statement: str, match: re.Match[str]) -> str:
    after = statement[match.end() :]
    if re.match(rf"\s?{_MASS}\b", after, re.IGNORECASE):
        return "dose"
    if _BEFORE_DAY.search(statement[: match.start()]) or re.fullmatch(r"(?:19|20)\d\d", match.group()):
        return "time"
    is_age = re.match(r"\s?years?[\s-]old", after, re.IGNORECASE)
    return "time" if not is_age and re.match(rf"\s?{_DURATION}\b", after, re.IGNORECASE) else "number"


def _other_number(value: int, taken: set[str], random: Random) -> str:
    """A value of about the same size, as a person would mistake it: a dose doubled or halved, another digit."""
    near = [value * 2, value // 2, value + 10, value - 10, value + 1, value - 1, value + 2, value - 2, value + 5]
    if value >= 1900:
        near = [value + shift for shift in (-10, -5, -2, -1, 1, 2, 3, 10)]
    free = [str(v) for v in near if v > 1 and str(v) not in taken]
    return random.choice(free) if free else str(value * 3)


def _has_term(term: str, text: str) -> bool:
    return term.lower() in text.lower() and re.search(rf"\b{re.escape(term)}\b", text, re.IGNORECASE) is not None


@cache
def _groups() -> Sequence[tuple[str, tuple[str, ...]]]:
    return [(kind, terms) for kind, lines in read_lists(_FILE).items() for terms in read_variants(lines).values()]


def _is_drug(word: str) -> bool:
    return len(word) > 4 and is_listed_medicine(word) and word not in _NOT_DRUGS


_NOT_DRUGS: Final = frozenset(_TERMS["no_medicines"])
_DRUGS: Final = _TERMS["common_medicines"]
