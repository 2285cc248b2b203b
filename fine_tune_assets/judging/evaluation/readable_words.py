"""Whether an answer consists of known words. A judge that reads statements may not notice reversed or joined ones."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np

MAX_UNKNOWN_SHARE: Final = 0.5
"""An answer with more of its letters in unknown words is unreadable."""
MIN_TEXTS: Final = 10
"""Minimum number of approved answers of a task."""
APPROVED_PERCENTILE: Final = 95
"""In a language without blanks between words, approved answers consist of unknown words too, and the limit follows them."""
_WORD = re.compile(r"[^\W\d_]+")


class KnownWords:
    """The words of all questions and approved answers of an instruction set, and for each task the limit for an answer."""

    def __init__(self, examples: Sequence[tuple[str, str, str]]) -> None:
        """`examples`: (task, question, approved answer)."""
        self._examples_by_word = Counter(
            word for _, question, answer in examples for word in {*_words(question), *_words(answer)}
        )
        # An approved answer does not vouch for its own words.
        used_once = {word for word, count in self._examples_by_word.items() if count == 1}
        shares: dict[str, list[float]] = {}
        for task, question, answer in examples:
            shares.setdefault(task, []).append(self._unknown_share(answer, question, used_once))
        self._limits: Mapping[str, float] = {
            task: max(MAX_UNKNOWN_SHARE, float(np.percentile(of_task, APPROVED_PERCENTILE)))
            for task, of_task in shares.items()
            if len(of_task) >= MIN_TEXTS
        }

    def is_readable(self, task: str, question: str, answer: str) -> bool | None:
        """None for a task with fewer than MIN_TEXTS approved answers.

        >>> known = KnownWords([("t", "How is she?", "She has a cough.")] * 10)
        >>> known.is_readable("t", "How is he?", "He has a cough."), known.is_readable("t", "How is he?", ".hguoc a sah eH")
        (True, False)
        """
        limit = self._limits.get(task)
        return None if limit is None else self._unknown_share(answer, question, ()) <= limit

    def _unknown_share(self, answer: str, question: str, unknown: Collection[str]) -> float:
        """Share of the letters in words that neither the question nor another example has. A single letter is no word."""
        own = set(_words(question))
        letters = {word: len(word) * count for word, count in Counter(_words(answer)).items()}
        known = sum(
            of_word
            for word, of_word in letters.items()
            if len(word) > 1 and (word in own or (word in self._examples_by_word and word not in unknown))
        )
        total = sum(letters.values())
        return 1 - known / total if total else 0.0


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
