"""Text as it is compared: without accents, with one apostrophe, and cut once into words with their places.

Owns the forms of letters. Every character stays in its place, so that offsets into the text stay true.
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
_NOT_IN_WORDS = dict.fromkeys([ord("'"), *range(0x300, 0x370)])
_UMLAUTS = {"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "ß": "ss", "æ": "ae", "œ": "oe"}
# Between consonants only: Mueller, and not Bauer or Doe.
_SPELLED_UMLAUT = re.compile(r"(?<=[^aeiou])([aou])e(?=[^aeiou])")
_SHORTEST_SPELLED = 5
_MAC = re.compile(r"mac[b-df-hj-np-tv-z][a-z]{3}")


def _base(character: str) -> str | None:
    base = unicodedata.normalize("NFD", character)[0]
    return base if base != character and base.isascii() and base.isalpha() else None


_FOLDED = {ord(mark): "'" for mark in APOSTROPHES} | {ord(a): b for a, b in zip("øØłŁđĐı", "oOlLdDi", strict=True)}
_FOLDED |= {point: base for point in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00)) if (base := _base(chr(point)))}


def fold(text: str) -> str:
    """The text with the same length, without accents and with one kind of apostrophe."""
    return text.translate(_FOLDED) if not text.isascii() else text.replace("`", "'")


def key_of(written: str) -> str:
    return _CONTRACTION.sub("", written).translate(_NOT_IN_WORDS).lower()


def spellings(word: str) -> set[str]:
    """The keys under which one word of a name may stand: muller and mueller for Müller and for Mueller."""
    composed = unicodedata.normalize("NFC", word).lower()
    spelled = "".join(_UMLAUTS.get(c, c) for c in composed)
    keys = {key_of(fold(composed)), key_of(fold(spelled))}
    if "ss" in spelled:
        keys.add(key_of(fold(composed)).replace("ss", "ß"))
    if len(spelled) >= _SHORTEST_SPELLED:
        keys.add(_SPELLED_UMLAUT.sub(r"\1", key_of(fold(spelled))))
    return keys | _scots(keys)


def _scots(keys: set[str]) -> set[str]:
    """Mac for Mc and Mc for Mac: MacDonald."""
    return {f"mac{k[2:]}" for k in keys if re.match("mc[a-z]{3}", k)} | {f"mc{k[3:]}" for k in keys if _MAC.match(k)}


class Word(NamedTuple):
    start: int
    end: int
    key: str
    """Lower case, without accents, apostrophes and a possessive: obrien for O’Brien's."""
    written: str


class FoldedText:
    """One text, read once: all that is known is looked up in it."""

    def __init__(self, text: str) -> None:
        self.folded = fold(text)
        self._tokens = list(_WORD.finditer(self.folded))
        written = [token[0] for token in self._tokens]
        self._lower = "\n".join(written).lower().split("\n") if written else []
        self.keys = [key if key.isalnum() else key_of(key) for key in self._lower]
        """The words in order; figures are words too."""
        self.places: dict[str, list[int]] = {}
        for place, key in enumerate(self.keys):
            self.places.setdefault(key, []).append(place)

    def __len__(self) -> int:
        return len(self.keys)

    def word(self, place: int) -> Word:
        token = self._tokens[place]
        return Word(*token.span(), self.keys[place], token[0])

    def gap(self, place: int) -> str:
        """What stands between a word and the next one."""
        return self.folded[self._tokens[place].end() : self._tokens[place + 1].start()]

    @cached_property
    def numbers(self) -> list[int]:
        """The places of figures."""
        return [place for place, key in enumerate(self.keys) if key.isdecimal()]

    @cached_property
    def lower(self) -> str:
        return self.folded.lower()

    @cached_property
    def squeezed(self) -> str:
        """All words without what stands between them."""
        return "".join(self._lower)

    @cached_property
    def _squeezed_ends(self) -> list[int]:
        return list(accumulate(map(len, self._lower), initial=0))

    def find_squeezed(self, key: str) -> list[tuple[int, int]]:
        """Offsets of every place of the key, whatever stands between its characters."""
        found, at = [], self.squeezed.find(key)
        while at >= 0:
            found.append((self._offset(at), self._offset(at + len(key) - 1) + 1))
            at = self.squeezed.find(key, at + 1)
        return found

    def _offset(self, index: int) -> int:
        token = bisect_right(self._squeezed_ends, index) - 1
        return self._tokens[token].start() + index - self._squeezed_ends[token]
