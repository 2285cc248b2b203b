"""Words as ranking compares them, and how rare each is among the chunks.

Owns what counts as a word. English endings are cut off; words of other languages stay as they are, but for those same endings.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

_WORD = re.compile(r"\w+(?:[.,]\d+)*", re.UNICODE)
_ENDINGS = ("ization", "ations", "ation", "ities", "ingly", "ing", "ies", "ed", "es", "ity", "ic", "al", "ly", "s")
_STEM_LETTERS = 4
_COMMON = frozenset(
    """a an and are as at be been by can do does for from had has have how if in into is it its many may much not of on or our
    should so than that the their there these they this to was we were what when where which who why will with would you
    your""".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Rarity:
    """In how many of all chunks each word stands."""

    chunks: int
    counts: Mapping[str, int]

    def of(self, word: str) -> float:
        """The inverse document frequency of BM25 (Robertson and Zaragoza 2009); never below 0."""
        held = self.counts.get(word, 0)
        return math.log(1 + (self.chunks - held + 0.5) / (held + 0.5))


def words_of(text: str) -> list[str]:
    """
    >>> words_of("What are the Visiting hours?")
    ['visit', 'hour']
    """
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in _COMMON]


def rarity_of(texts: Iterable[str]) -> Rarity:
    counts: Counter[str] = Counter()
    chunks = 0
    for text in texts:
        counts.update(set(words_of(text)))
        chunks += 1
    return Rarity(chunks, counts)


def shared_share(asked: Collection[str], text: str, rarity: Rarity) -> float:
    """How much of a question's words stands in a text, rare ones counting more: 0 to 1."""
    held = set(words_of(text))
    # Sorted: a sum of floats depends on its order, and that of a set on the process.
    total = sum(rarity.of(word) for word in sorted(asked))
    return sum(rarity.of(word) for word in sorted(asked) if word in held) / total if total else 0.0


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _STEM_LETTERS:
            return word[: -len(ending)]
    return word
