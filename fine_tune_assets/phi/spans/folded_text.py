"""Text prepared for comparison: without accents, with one kind of apostrophe, split once into words with offsets.

Folding keeps the length of the text, so offsets stay valid.
"""

import re
import unicodedata
from bisect import bisect_right
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

APOSTROPHES = "'’ʼ‘`´"
_MARKS = "\u0300-\u036f"
_WORD = re.compile(rf"[^\W\d_]+(?:['{_MARKS}]+[^\W\d_]+)*[{_MARKS}]?|\d+")
_CONTRACTION = re.compile(r"'(?:s|ll|d|ve|re)$", re.IGNORECASE)
_REMOVED_MARKS = dict.fromkeys([ord("'"), *range(0x300, 0x370)])
_UMLAUTS = {"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "ß": "ss", "æ": "ae", "œ": "oe"}
# Between consonants only: matches Mueller, but not Bauer or Doe.
_SPELLED_UMLAUT = re.compile(r"(?<=[^aeiou])([aou])e(?=[^aeiou])")
_MIN_UMLAUT_WORD_LENGTH = 5
_MAC = re.compile(r"mac[b-df-hj-np-tv-z][a-z]{3}")


def _find_base_letter(character: str) -> str | None:
    base = unicodedata.normalize("NFD", character)[0]
    return base if base != character and base.isascii() and base.isalpha() else None


_FOLDED = {ord(mark): "'" for mark in APOSTROPHES} | {ord(a): b for a, b in zip("øØłŁđĐı", "oOlLdDi", strict=True)}
_FOLDED |= {
    point: base for point in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00)) if (base := _find_base_letter(chr(point)))
}


def fold(text: str) -> str:
    """The text at the same length, without accents and with one kind of apostrophe."""
    return text.translate(_FOLDED) if not text.isascii() else text.replace("`", "'")


def make_key(written: str) -> str:
    return _CONTRACTION.sub("", written).translate(_REMOVED_MARKS).lower()


def list_spellings(word: str) -> set[str]:
    """The keys of all spellings of one word of a name: muller and mueller for both Müller and Mueller."""
    composed = unicodedata.normalize("NFC", word).lower()
    spelled = "".join(_UMLAUTS.get(c, c) for c in composed)
    keys = {make_key(fold(composed)), make_key(fold(spelled))}
    if "ss" in spelled:
        keys.add(make_key(fold(composed)).replace("ss", "ß"))
    if len(spelled) >= _MIN_UMLAUT_WORD_LENGTH:
        keys.add(_SPELLED_UMLAUT.sub(r"\1", make_key(fold(spelled))))
    return keys | _list_mac_spellings(keys)


def _list_mac_spellings(keys: set[str]) -> set[str]:
    """The Mac and Mc variants of each key, as in MacDonald."""
    return {f"mac{k[2:]}" for k in keys if re.match("mc[a-z]{3}", k)} | {f"mc{k[3:]}" for k in keys if _MAC.match(k)}


class Word(NamedTuple):
    start: int
    end: int
    key: str
    """Lower case, without accents, apostrophes and possessives: obrien for O’Brien's."""
    surface: str


class FoldedText:
    """A text that is split once, for many searches."""

    def __init__(self, text: str) -> None:
        self.folded = fold(text)
        self._tokens = list(_WORD.finditer(self.folded))
        written = [token[0] for token in self._tokens]
        self._lower = "\n".join(written).lower().split("\n") if written else []
        self.keys = [key if key.isalnum() else make_key(key) for key in self._lower]
        """The words in order; numbers count as words."""
        self.positions: dict[str, list[int]] = {}
        for place, key in enumerate(self.keys):
            self.positions.setdefault(key, []).append(place)

    def __len__(self) -> int:
        return len(self.keys)

    def word(self, place: int) -> Word:
        token = self._tokens[place]
        return Word(*token.span(), self.keys[place], token[0])

    def gap(self, place: int) -> str:
        """The text between a word and the next one."""
        return self.folded[self._tokens[place].end() : self._tokens[place + 1].start()]

    @cached_property
    def keys_in_lower_case(self) -> frozenset[str]:
        """Keys of the words that occur in lower case."""
        return frozenset(key for key, token in zip(self.keys, self._tokens, strict=True) if token[0].islower())

    @cached_property
    def number_positions(self) -> list[int]:
        """Positions of the numbers."""
        return [place for place, key in enumerate(self.keys) if key.isdecimal()]

    @cached_property
    def lower(self) -> str:
        return self.folded.lower()

    @cached_property
    def compact(self) -> str:
        """All words without separators."""
        return "".join(self._lower)

    @cached_property
    def _compact_ends(self) -> list[int]:
        return list(accumulate(map(len, self._lower), initial=0))

    def find_ignoring_separators(self, key: str) -> list[tuple[int, int]]:
        """Offsets of every occurrence of the key, ignoring separators between its characters."""
        found, at = [], self.compact.find(key)
        while at >= 0:
            found.append((self._offset(at), self._offset(at + len(key) - 1) + 1))
            at = self.compact.find(key, at + 1)
        return found

    def _offset(self, index: int) -> int:
        token = bisect_right(self._compact_ends, index) - 1
        return self._tokens[token].start() + index - self._compact_ends[token]
