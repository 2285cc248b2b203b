"""Tokenizes words for ranking and counts how rare each is among the chunks.

Strips English endings; other languages are not stemmed further.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

_WORD = re.compile(r"\w+(?:[.,]\d+)*", re.UNICODE)
_SUFFIXES = ("ization", "ations", "ation", "ities", "ingly", "ing", "ies", "ed", "es", "ity", "ic", "al", "ly", "s")
_MIN_STEM_LENGTH = 4
_STOP_WORDS = frozenset(
    """a an and are as at be been by can do does for from had has have how if in into is it its many may much not of on or our
    should so than that the their there these they this to was we were what when where which who why will with would you
    your""".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class TermStatistics:
    """The number of chunks that contain each word."""

    chunks: int
    counts: Mapping[str, int]

    def idf(self, word: str) -> float:
        """BM25's inverse document frequency (Robertson and Zaragoza 2009); never below 0."""
        held = self.counts.get(word, 0)
        return math.log(1 + (self.chunks - held + 0.5) / (held + 0.5))


def tokenize(text: str) -> list[str]:
    """
    >>> tokenize("What are the Visiting hours?")
    ['visit', 'hour']
    """
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS]


def count_terms(texts: Iterable[str]) -> TermStatistics:
    counts: Counter[str] = Counter()
    chunks = 0
    for text in texts:
        counts.update(set(tokenize(text)))
        chunks += 1
    return TermStatistics(chunks, counts)


def weighted_overlap(words: Collection[str], text: str, statistics: TermStatistics) -> float:
    """Share of a question's words that a text contains, weighted by rarity: 0 to 1."""
    held = set(tokenize(text))
    # Sorted, because a float sum depends on its order, and set order differs between processes.
    total = sum(statistics.idf(word) for word in sorted(words))
    return sum(statistics.idf(word) for word in sorted(words) if word in held) / total if total else 0.0


def _stem(word: str) -> str:
    for ending in _SUFFIXES:
        if word.endswith(ending) and len(word) - len(ending) >= _MIN_STEM_LENGTH:
            return word[: -len(ending)]
    return word
