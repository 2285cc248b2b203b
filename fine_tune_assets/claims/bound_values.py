"""Finds values of a statement that its record binds to something else: the dose of another medicine, the side of another knee.

A value (a number, a side, a person, a body site, a medicine, an opposite) belongs to the words next to it. If another value of
its kind lies clearly closer to these words in the record, the statement has the wrong value. Two values of a statement are
exchanged if each lies closer to the words around the other one. Distances say little about grammar, so this is a hint.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.claims.medicine_names import is_listed_medicine
from fine_tune_assets.claims.negation_words import SITE_BY_FORM, stem
from fine_tune_assets.claims.stated_values import PERSON_BY_FORM
from fine_tune_assets.core.word_lists import read_lists
from fine_tune_assets.quantities.number_words import UNITS

NUMBER, SIDE, PERSON, SITE, MEDICINE = "number", "side", "person", "site", "medicine"
CLOSER_OWNER: Final = 3.0
"""How many times closer another value must lie. At 3, 4 % of the true statements of unseen notes have such a value."""
CLOSER_EXCHANGED: Final = 1.2
"""The same for two values of one statement, where both distances count."""
_NEARBY: Final = 4
"""Words on each side of a value that tell what it belongs to."""
_NEAR: Final = 15
"""Words around such a word in the record where another value is looked for."""
_FAR: Final = 60
"""Words from which a distance no longer counts."""
_MAX_PLACES, _MAX_TOKENS, _MAX_APART = 40, 200, 30
"""Limits for texts that repeat themselves: places of a word, words of a statement, and words between two exchanged values."""
_TOKEN: Final = re.compile(r"\d+(?:[.,]\d+)?|[A-Za-z]+(?:'[a-z]+)?")
_MIN_MEDICINE_LETTERS: Final = 5
_NUMBER_WORDS: Final = {word: str(value) for word, value in UNITS.items() if value > 1}
_COMMON_NUMBERS: Final = frozenset({"0", "1"})
Positions = NDArray[np.int64]


@dataclass(frozen=True)
class _Token:
    name: str
    """The value in one spelling, or the stem of a word; empty for a function word."""
    kind: str
    """Empty for other words."""
    written: str


@dataclass(frozen=True)
class _Record:
    tokens: Sequence[_Token]
    positions: Mapping[str, Positions]
    """Name → its places among the tokens, in order."""


def find_misbound_values(statement: str, record: str, kinds: Collection[str]) -> list[str]:
    """Values of the statement, as written, that belong to something else in the record.

    `kinds`: of SIDE, SITE and MEDICINE those that the domain has. Numbers, people and opposites count in every domain.

    >>> find_misbound_values("Lasix 20 mg, lisinopril 40 mg.", "Lisinopril is 20 mg. The second, lasix, is 40 mg.", [MEDICINE])
    ['Lasix', '20', 'lisinopril', '40']
    """
    tokens, read = _tokenize(statement)[:_MAX_TOKENS], _read_record(record)
    excluded = {SIDE, SITE, MEDICINE} - {*kinds}
    places = [at for at, token in enumerate(tokens) if token.kind and token.kind not in excluded]
    found = [at for at in places if _has_closer_owner(tokens, at, read)]
    pairs = [(a, b) for a, b in combinations(places, 2) if b - a <= _MAX_APART]
    found += [at for pair in pairs if _are_exchanged(tokens, *pair, read) for at in pair]
    return list(dict.fromkeys(tokens[at].written for at in sorted(found)))


def _has_closer_owner(tokens: Sequence[_Token], at: int, record: _Record) -> bool:
    value = tokens[at]
    is_stated = value.name in record.positions
    if not is_stated and value.kind in (NUMBER, SIDE, PERSON, SITE, MEDICINE):
        return False  # other checks find what the record lacks
    nearby = {name for _, name in _nearby_words(tokens, at, record)}
    if not nearby:
        return False
    own = sum(1 / (1 + _distance(value.name, [word], record)) for word in nearby)
    return _closest_other(value, nearby, record) > CLOSER_OWNER * own


def _closest_other(value: _Token, words: Collection[str], record: _Record) -> float:
    """Closeness of the closest other value of this kind: the sum over the words of 1 / (1 + distance); 0 if none is near."""
    distances: dict[str, dict[str, int]] = {}
    for word in words:
        for place in record.positions[word][:_MAX_PLACES]:
            start = max(0, place - _NEAR)
            for at, token in enumerate(record.tokens[start : place + _NEAR + 1], start):
                if token.kind == value.kind and token.name != value.name:
                    of_value = distances.setdefault(token.name, {})
                    of_value[word] = min(of_value.get(word, _FAR), abs(at - place))
    return max((sum(1 / (1 + found.get(word, _FAR)) for word in words) for found in distances.values()), default=0.0)


def _are_exchanged(tokens: Sequence[_Token], first: int, second: int, record: _Record) -> bool:
    a, b = tokens[first], tokens[second]
    if a.kind != b.kind or a.name == b.name or not {a.name, b.name} <= record.positions.keys():
        return False
    near_a = {name for at, name in _nearby_words(tokens, first, record) if abs(at - first) < abs(at - second)}
    near_b = {name for at, name in _nearby_words(tokens, second, record) if abs(at - second) < abs(at - first)}
    near_a, near_b = near_a - near_b, near_b - near_a
    if not near_a or not near_b:
        return False
    straight = _distance(a.name, near_a, record) + _distance(b.name, near_b, record)
    crossed = _distance(a.name, near_b, record) + _distance(b.name, near_a, record)
    return straight + 2 > CLOSER_EXCHANGED * (crossed + 2)


def _nearby_words(tokens: Sequence[_Token], at: int, record: _Record) -> Iterator[tuple[int, str]]:
    """Place and name of the words around a value, of another kind than its own, that the record has."""
    for place in range(max(0, at - _NEARBY), min(len(tokens), at + _NEARBY + 1)):
        other = tokens[place]
        if other.name in record.positions and other.kind != tokens[at].kind:
            yield place, other.name


def _distance(value: str, words: Collection[str], record: _Record) -> int:
    """Smallest number of words between the value and one of the words in the record; at most _FAR."""
    return min((_nearest(record.positions, value, word) for word in words), default=_FAR)


def _nearest(positions: Mapping[str, Positions], value: str, word: str) -> int:
    if value not in positions:
        return _FAR
    ours, theirs = positions[value], positions[word]
    at = np.searchsorted(theirs, ours)
    before = np.abs(ours - theirs[np.maximum(at - 1, 0)])
    after = np.abs(ours - theirs[np.minimum(at, len(theirs) - 1)])
    return min(_FAR, int(np.minimum(before, after).min()))


@lru_cache(256)
def _read_record(record: str) -> _Record:
    places: dict[str, list[int]] = {}
    tokens = _tokenize(record)
    for at, token in enumerate(tokens):
        if token.name:
            places.setdefault(token.name, []).append(at)
    return _Record(tokens, {name: np.array(found) for name, found in places.items()})


def _tokenize(text: str) -> list[_Token]:
    return [_read_token(match.group()) for match in _TOKEN.finditer(text)]


@lru_cache(100_000)
def _read_token(written: str) -> _Token:
    word = _NUMBER_WORDS.get(written.lower(), written.lower())
    if word[0].isdigit() and word not in _COMMON_NUMBERS:
        return _Token(word, NUMBER, written)
    if word in ("left", "right"):
        return _Token(word, SIDE, written)
    if word in PERSON_BY_FORM:
        return _Token(PERSON_BY_FORM[word], PERSON, written)
    if word in SITE_BY_FORM:
        return _Token(SITE_BY_FORM[word], SITE, written)
    if word in _opposites():
        return _Token(word, _opposites()[word], written)
    if len(word) >= _MIN_MEDICINE_LETTERS and is_listed_medicine(word):
        return _Token(word, MEDICINE, written)
    return _Token(stem(word), "", written)


@cache
def _opposites() -> Mapping[str, str]:
    """Word → the group of words that exclude each other."""
    lines = read_lists(Path(__file__).parent / "reference" / "opposites.txt")["opposites"]
    return {word: line for line in lines for word in line.split(", ")}
