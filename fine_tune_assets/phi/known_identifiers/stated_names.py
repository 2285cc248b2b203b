"""The names of persons as they are stated, and what of each may stand in a text.

Owns the reading of a name: HL7's DOE^JOHN^A, "Doe, John A.", "Dr. John A. Doe, MD". Does not look into any text.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from fine_tune_assets.phi.spans.folded_text import fold, key_of, spellings
from fine_tune_assets.phi.spans.word_lists import (
    ABBREVIATIONS,
    ALSO_WORDS,
    CREDENTIALS,
    NO_NAMES,
    ORDINARY_WORDS,
    PARTICLES,
    PERSONS_IN_ORDINARY_WORDS,
    TITLES,
)

_SHORTEST_JOINED = 6
_SHORTEST_PLURAL = 4
_LONGEST_RUN = 4
_SHORTEST_PART, _SHORT_PART = 2, 3
_NAME_WORD = re.compile(r"[^\W\d_]+(?:['\u0300-\u036f]+[^\W\d_]+)*[\u0300-\u036f]?")


class Care(IntEnum):
    """Where one word of a name is the name, from the most careful on."""

    BESIDE = 0
    """Only beside another word of the name: van, de."""
    MIDDLE = 1
    """As a capitalised word within a sentence."""
    TITLE_CASE = 2
    """As Ng, and not as NG, which is a tube."""
    CAPITAL = 3
    """As a capitalised word or in capitals."""
    ANY = 4


@dataclass(frozen=True)
class Name:
    given: tuple[str, ...]
    family: tuple[str, ...]
    initials: tuple[str, ...]
    """Stated letters, such as the A of John A. Doe."""

    @property
    def words(self) -> tuple[str, ...]:
        return self.given + self.family


def read_names(value: str) -> Iterator[Name]:
    """The names in a stated value; HL7 repeats with a tilde. A field that says that there is no name gives none."""
    for part in re.split(r"[~;|\n]", value):
        name = _read_hl7(part) if "^" in part else _read_written(part)
        if any(len(word) >= _SHORTEST_PART for word in name.words):
            yield name


def _read_hl7(value: str) -> Name:
    parts = [part.split("&")[0] for part in value.split("^")]
    if any(c.isdigit() for c in parts[0]):  # XCN: an id stands before the name
        parts = parts[1:]
    return _name(_words(" ".join(parts[1:3])), _words(parts[0] if parts else ""))


def _read_written(value: str) -> Name:
    segments = [words for part in value.split(",") if (words := _without_credentials(_words(part)))]
    if not segments:
        return Name((), (), ())
    if len(segments) > 1:
        return _name([word for words in segments[1:] for word in words], segments[0])
    words = segments[0]
    last = len(words) - 1
    while last > 1 and words[last - 1].lower() in PARTICLES:
        last -= 1
    return _name(words[:last], words[last:])


def _words(part: str) -> list[str]:
    plain = re.sub(r"\b([A-Za-z])\.([A-Za-z])\.?(?!\w)", _dotted, re.sub("[’ʼ‘`´]", "'", part))
    words = _NAME_WORD.findall(plain)
    while words and words[0].lower() in TITLES:
        words = words[1:]
    return words


def _dotted(match: re.Match[str]) -> str:
    """M.D. is a credential, J.A. two initials."""
    joined = match[1] + match[2]
    return joined if joined.lower() in CREDENTIALS else f"{match[1]} {match[2]}"


def _without_credentials(words: list[str]) -> list[str]:
    """All words of "MD, FACP" go, and MD after a whole name: Do and Ma are names too."""
    if all(word.lower() in CREDENTIALS and (word.isupper() or len(words) == 1) for word in words):
        return []
    end = len(words)
    while end > 2 and words[end - 1].lower() in CREDENTIALS:
        end -= 1
    return words[:end]


def _name(given: list[str], family: list[str]) -> Name:
    kept = [[word for word in words if word.lower() not in NO_NAMES] for words in (given, family)]
    letters = tuple(fold(word).lower() for words in kept for word in words if len(word) == 1)
    full = [tuple(word for word in words if len(word) > 1) for words in kept]
    return Name(full[0], full[1], letters)


class NameIndex:
    """For every word that may be a part of a name: whose, and where."""

    def __init__(self, names: Iterable[Name], is_propagated: bool = False, highest: Care = Care.ANY) -> None:
        self.names = tuple(names)
        self.care: dict[str, Care] = {}
        self.owners: dict[str, set[int]] = {}
        self.joined: set[str] = set()
        self.initials = [{fold(word)[0].lower() for word in name.words} | {*name.initials} for name in self.names]
        self._is_propagated, self._highest = is_propagated, highest
        for number, name in enumerate(self.names):
            self._add_words(number, name)
            self._add_joined(number, name)
        self.heads = {key[:n] for key in self.joined for n in range(1, len(key))}
        """What the first of two words may be that together are a joined one."""
        self.monograms = set() if is_propagated else {m for name in self.names for m in _monograms(name)}

    def position(self, key: str, owner: int) -> int:
        """Where the word stands in the name, given names first."""
        return next((n for n, word in enumerate(self.names[owner].words) if key in spellings(word)), -1)

    def _add_words(self, number: int, name: Name) -> None:
        for word in name.words:
            care = min(self._care_of(word), self._highest)
            for key in spellings(word):
                self._add(key, care, number)
                if care == Care.ANY and len(key) >= _SHORTEST_PLURAL and not _is_word(f"{key}s"):
                    self._add(f"{key}s", care, number)  # a possessive as speech is written down: quixleys arm

    def _add_joined(self, number: int, name: Name) -> None:
        """SmithJones for Smith-Jones, and the whole name as one word."""
        orders = {name.words, name.family + name.given, name.given, name.family}
        for words in orders:
            for start in range(len(words)):
                for end in range(start + 2, min(len(words), start + _LONGEST_RUN) + 1):
                    key = key_of(fold("".join(words[start:end])))
                    if len(key) >= _SHORTEST_JOINED and not _is_word(key):
                        self._add(key, min(Care.ANY, self._highest), number)
        self.joined |= {key for key, care in self.care.items() if care >= Care.CAPITAL and len(key) >= _SHORTEST_JOINED}

    def _add(self, key: str, care: Care, number: int) -> None:
        self.care[key] = max(care, self.care.get(key, care))
        self.owners.setdefault(key, set()).add(number)

    def _care_of(self, word: str) -> Care:
        key = key_of(fold(word))
        if key in PARTICLES:
            return Care.BESIDE
        if _is_word(key) and (self._is_propagated or len(key) < _SHORT_PART):
            return Care.MIDDLE
        if key.upper() in ABBREVIATIONS or len(key) < _SHORT_PART:
            return Care.TITLE_CASE
        return Care.CAPITAL if _is_word(key) else Care.ANY


def _is_word(key: str) -> bool:
    return key in ALSO_WORDS or (key in ORDINARY_WORDS and key not in PERSONS_IN_ORDINARY_WORDS)


def _monograms(name: Name) -> Iterator[str]:
    """JD and JAD of John A. Doe; a hyphenated family name counts once or as all its parts."""
    given = [fold(word)[0].upper() for word in name.given if word.lower() not in PARTICLES]
    family = [fold(word)[0].upper() for word in name.family if word.lower() not in PARTICLES]
    if given and family:
        middle = "".join(given[1:]) + "".join(name.initials).upper()
        for last in {family[0], "".join(family)}:
            yield from {given[0] + last, given[0] + middle + last}
