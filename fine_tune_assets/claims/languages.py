"""Recognizes texts in another language than English, for which the scrubber is not made. Changes nothing about a text.

Counts function words, which make up a third of any running text. Makes no claim about short texts, about lists of terms and
figures, or about languages that it has no words of.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from fine_tune_assets.core.word_lists import read_lists

ENGLISH = "English"
OTHER_SCRIPT = "another script"
MIN_WORDS = 20
"""A shorter text has too few function words."""
MIN_SHARE = 0.1
"""Share of words that are function words of the other language. Prose has 0.2 to 0.5, telegraphic notes less."""
MIN_RATIO = 2.0
"""So many times as many function words as English ones: some words belong to both languages."""
MIN_DISTINCT = 5
"""Different function words: names and abbreviations that look like one recur."""
MIN_LETTERS = 60
_MAX_CHARACTERS = 20_000
"""The start of a long text is enough."""
_WORD = re.compile(r"[^\W\d_]+")
_NOT_LATIN = re.compile(r"[^\W\d_\u0000-\u024f\u1e00-\u1eff]")


def find_other_language(text: str) -> str | None:
    """The language of a text that is not in English, or None: it is in English, or there is no claim.

    >>> find_other_language("Der Patient ist seit gestern nicht mehr in der Klinik. " * 3)
    'German'
    """
    words = [word.lower() for word in _WORD.findall(text[:_MAX_CHARACTERS])]
    letters = "".join(words)
    if len(letters) >= MIN_LETTERS and len(_NOT_LATIN.findall(letters)) > len(letters) / 2:
        return OTHER_SCRIPT
    if len(words) < MIN_WORDS:
        return None
    counts = Counter(words)
    found = {name: counts.keys() & known for name, known in _function_words().items()}
    shares = {name: sum(counts[word] for word in known) / len(words) for name, known in found.items()}
    english = shares.pop(ENGLISH)
    name, share = max(shares.items(), key=lambda item: item[1])
    is_other = share >= MIN_SHARE and share >= MIN_RATIO * english and len(found[name]) >= MIN_DISTINCT
    return name.replace("_", " ") if is_other else None


def count_other_languages(texts: Iterable[str]) -> dict[str, int]:
    """Language → number of texts that are in it, most frequent first, without English."""
    return dict(Counter(name for text in texts if (name := find_other_language(text))).most_common())


def describe_languages(counts: Mapping[str, int]) -> str:
    """
    >>> describe_languages({"German": 3, "French": 1})
    'German 3, French 1'
    """
    return ", ".join(f"{name} {count}" for name, count in counts.items())


LIMIT = "The scrubber is made for English and misses identifiers in other languages."


@cache
def _function_words() -> Mapping[str, frozenset[str]]:
    lists = read_lists(Path(__file__).parent / "reference" / "function_words.txt")
    return {name: frozenset(word for line in lines for word in line.split()) for name, lines in lists.items()}
