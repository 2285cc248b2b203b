"""Finds, for a word, other words of the same form that can replace it: "kidney" and "liver", "walking" and "standing".

They come from the reports themselves, so that a verifier meets any kind of word that differs, and not only the listed kinds.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

WORD: Final = re.compile(r"[a-z]{4,}")
MIN_COUNT: Final = 3
COMMON_WORDS: Final = 150
"""The most common words are excluded, because they carry little meaning."""
NEIGHBORS: Final = 10
MAX_SIMILARITY: Final = 0.72
"""Cosine from which two words may mean the same ("surgery", "operation")."""
_ENDINGS: Final = ("ing", "ed", "ly", "ies", "es", "s", "al", "ous", "ic", "tion", "ive", "able", "er")
_SHARED_STEM: Final = 4
"""Two words that begin with so many equal letters may be forms of one word."""
EmbedWords = Callable[[Sequence[str]], NDArray[np.float32]]
"""Words → unit vectors (words, width)."""


def find_neighbors(texts: Sequence[str], embed: EmbedWords) -> Mapping[str, tuple[str, ...]]:
    """Word → up to `NEIGHBORS` similar words of the same ending, nearest first; words without any are excluded."""
    counts = Counter(word for text in texts for word in WORD.findall(text.lower()))
    words = sorted(word for word, count in counts.most_common()[COMMON_WORDS:] if count >= MIN_COUNT)
    vectors = embed(words)
    groups: dict[str, list[int]] = {}
    for at, word in enumerate(words):
        groups.setdefault(_ending(word), []).append(at)
    found = {}
    for members in groups.values():
        similarity = vectors[members] @ vectors[members].T
        for row, at in enumerate(members):
            near = _choose(words[at], [words[n] for n in members], similarity[row])
            if near:
                found[words[at]] = near
    return found


def _choose(word: str, others: Sequence[str], similarity: NDArray[Any]) -> tuple[str, ...]:
    order = np.argsort(-similarity, kind="stable")
    fitting = (
        others[at]
        for at in order
        if similarity[at] < MAX_SIMILARITY and others[at][:_SHARED_STEM] != word[:_SHARED_STEM]
    )
    return tuple(other for other, _ in zip(fitting, range(NEIGHBORS), strict=False))


def _ending(word: str) -> str:
    return next((ending for ending in _ENDINGS if word.endswith(ending)), "")
