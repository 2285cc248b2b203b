"""Parses the names in metadata, and indexes the words by which each may appear in a text.

Reads HL7's DOE^JOHN^A, "Doe, John A." and "Dr. John A. Doe, MD".
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from fine_tune_assets.phi.spans.folded_text import fold, list_spellings, make_key
from fine_tune_assets.phi.spans.identifier_words import (
    ABBREVIATIONS,
    AMBIGUOUS_NAMES,
    CREDENTIALS,
    EPONYMOUS_WORDS,
    MISSING_NAME_VALUES,
    PARTICLES,
    TITLES,
)
from fine_tune_assets.phi.spans.vocabulary import Vocabulary

_MIN_JOINED_LENGTH = 6
_MIN_PLURAL_LENGTH = 4
_MAX_JOINED_WORDS = 4
_MIN_PART_LENGTH, _MIN_DISTINCTIVE_LENGTH = 2, 3
_NAME_WORD = re.compile(r"[^\W\d_]+(?:['\u0300-\u036f]+[^\W\d_]+)*[\u0300-\u036f]?")


class MatchPolicy(IntEnum):
    """Where a word of a name counts as the name, from strictest to loosest."""

    ADJACENT = 0
    """Only next to another word of the name: van, de."""
    MID_SENTENCE = 1
    """Capitalised within a sentence."""
    TITLE_CASE = 2
    """As Ng, but not as NG, which is a tube."""
    CAPITALISED = 3
    """Capitalised or in capitals."""
    ANY_CASE = 4


@dataclass(frozen=True)
class Name:
    given: tuple[str, ...]
    family: tuple[str, ...]
    initials: tuple[str, ...]
    """Stated initials, such as the A of John A. Doe."""

    @property
    def words(self) -> tuple[str, ...]:
        return self.given + self.family


def read_names(value: str) -> Iterator[Name]:
    """The names in a stated value; HL7 separates repetitions with a tilde. Yields nothing for a value that means "no name"."""
    for part in re.split(r"[~;|\n]", value):
        name = _read_hl7(part) if "^" in part else _read_plain_name(part)
        if any(len(word) >= _MIN_PART_LENGTH for word in name.words):
            yield name


def _read_hl7(value: str) -> Name:
    parts = [part.split("&")[0] for part in value.split("^")]
    if any(c.isdigit() for c in parts[0]):  # XCN: an id precedes the name
        parts = parts[1:]
    return _build_name(_split_words(" ".join(parts[1:3])), _split_words(parts[0] if parts else ""))


def _read_plain_name(value: str) -> Name:
    segments = [words for part in value.split(",") if (words := _drop_credentials(_split_words(part)))]
    if not segments:
        return Name((), (), ())
    if len(segments) > 1:
        return _build_name([word for words in segments[1:] for word in words], segments[0])
    words = segments[0]
    last = len(words) - 1
    while last > 1 and words[last - 1].lower() in PARTICLES:
        last -= 1
    return _build_name(words[:last], words[last:])


def _split_words(part: str) -> list[str]:
    plain = re.sub(r"\b([A-Za-z])\.([A-Za-z])\.?(?!\w)", _split_initials, re.sub("[’ʼ‘`´]", "'", part))
    words = _NAME_WORD.findall(plain)
    while words and words[0].lower() in TITLES:
        words = words[1:]
    return words


def _split_initials(match: re.Match[str]) -> str:
    """M.D. is a credential, J.A. are two initials."""
    joined = match[1] + match[2]
    return joined if joined.lower() in CREDENTIALS else f"{match[1]} {match[2]}"


def _drop_credentials(words: list[str]) -> list[str]:
    """Drop all words of "MD, FACP", but a lone MD only after a full name: Do and Ma are names too."""
    if all(word.lower() in CREDENTIALS and (word.isupper() or len(words) == 1) for word in words):
        return []
    end = len(words)
    while end > 2 and words[end - 1].lower() in CREDENTIALS:
        end -= 1
    return words[:end]


def _build_name(given: list[str], family: list[str]) -> Name:
    stated = [[word for word in words if word.lower() not in MISSING_NAME_VALUES] for words in (given, family)]
    letters = tuple(fold(word).lower() for words in stated for word in words if len(word) == 1)
    full = [tuple(word for word in words if len(word) > 1) for words in stated]
    return Name(full[0], full[1], letters)


class NameIndex:
    """For each word that may be part of a name: whose, and in which position."""

    def __init__(
        self,
        names: Iterable[Name],
        vocabulary: Vocabulary,
        is_propagated: bool = False,
        loosest_policy: MatchPolicy = MatchPolicy.ANY_CASE,
    ) -> None:
        self.names, self.vocabulary = tuple(names), vocabulary
        self.policies: dict[str, MatchPolicy] = {}
        self.owners: dict[str, set[int]] = {}
        self.joined_words: set[str] = set()
        self.initials = [{fold(word)[0].lower() for word in name.words} | {*name.initials} for name in self.names]
        self._is_propagated, self._loosest_policy = is_propagated, loosest_policy
        for number, name in enumerate(self.names):
            self._add_words(number, name)
            self._add_joined(number, name)
        self.joined_prefixes = {key[:n] for key in self.joined_words for n in range(1, len(key))}
        """First halves of words that may be split in two."""
        self.monograms = set() if is_propagated else {m for name in self.names for m in _list_monograms(name)}

    def find_position(self, key: str, owner: int) -> int:
        """Position of the word in the name, given names first."""
        return next((n for n, word in enumerate(self.names[owner].words) if key in list_spellings(word)), -1)

    def _add_words(self, number: int, name: Name) -> None:
        for word in name.words:
            policy = min(self._choose_policy(word), self._loosest_policy)
            for key in list_spellings(word):
                self._add(key, policy, number)
                if policy == MatchPolicy.ANY_CASE and len(key) >= _MIN_PLURAL_LENGTH and not self._is_word(f"{key}s"):
                    self._add(f"{key}s", policy, number)  # a possessive as transcribed from speech: quixleys arm

    def _add_joined(self, number: int, name: Name) -> None:
        """Index SmithJones for Smith-Jones, and the whole name as one word."""
        orders = {name.words, name.family + name.given, name.given, name.family}
        for words in orders:
            for start in range(len(words)):
                for end in range(start + 2, min(len(words), start + _MAX_JOINED_WORDS) + 1):
                    key = make_key(fold("".join(words[start:end])))
                    if len(key) >= _MIN_JOINED_LENGTH and not self._is_word(key):
                        self._add(key, min(MatchPolicy.ANY_CASE, self._loosest_policy), number)
        self.joined_words |= {
            key
            for key, policy in self.policies.items()
            if policy >= MatchPolicy.CAPITALISED and len(key) >= _MIN_JOINED_LENGTH
        }

    def _add(self, key: str, policy: MatchPolicy, number: int) -> None:
        self.policies[key] = max(policy, self.policies.get(key, policy))
        self.owners.setdefault(key, set()).add(number)

    def _choose_policy(self, word: str) -> MatchPolicy:
        key = make_key(fold(word))
        if key in PARTICLES:
            return MatchPolicy.ADJACENT
        if self._is_word(key) and (self._is_propagated or len(key) < _MIN_DISTINCTIVE_LENGTH):
            return MatchPolicy.MID_SENTENCE
        if key.upper() in ABBREVIATIONS or len(key) < _MIN_DISTINCTIVE_LENGTH:
            return MatchPolicy.TITLE_CASE
        return MatchPolicy.CAPITALISED if self._is_word(key) else MatchPolicy.ANY_CASE

    def _is_word(self, key: str) -> bool:
        is_ordinary = key in self.vocabulary.ordinary_words and key not in EPONYMOUS_WORDS
        return key in AMBIGUOUS_NAMES or is_ordinary


def _list_monograms(name: Name) -> Iterator[str]:
    """JD and JAD for John A. Doe; a hyphenated family name counts as one part or as several."""
    given = [fold(word)[0].upper() for word in name.given if word.lower() not in PARTICLES]
    family = [fold(word)[0].upper() for word in name.family if word.lower() not in PARTICLES]
    if given and family:
        middle = "".join(given[1:]) + "".join(name.initials).upper()
        for last in {family[0], "".join(family)}:
            yield from {given[0] + last, given[0] + middle + last}
