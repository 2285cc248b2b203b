"""Words that belong to an identifier or precede it, read from `reference/identifier_parts.txt`."""

import re
from collections.abc import Iterable
from pathlib import Path

from fine_tune_assets.core.word_lists import read_lists
from fine_tune_assets.phi.spans.identifier_words import ABBREVIATIONS, STREET_WORDS
from fine_tune_assets.phi.spans.vocabulary import Vocabulary

_LISTS = read_lists(Path(__file__).parents[2] / "reference" / "identifier_parts.txt")
NUMBER_LABELS = frozenset(_LISTS["number_labels"])
"""Abbreviations before a number that only name its kind, such as `MRN`, and currencies."""
DEFINED_TERMS = frozenset(_LISTS["defined_terms"])
CANTONS = frozenset(_LISTS["cantons"])
TEST_NAMES = frozenset(_LISTS["test_names"])
COMPANY_FORMS, SHORT_COMPANY_FORMS, UNIT_WORDS, STREET_STARTS, STREET_ENDINGS = (
    "|".join(_LISTS[name])
    for name in ("company_forms", "short_company_forms", "unit_words", "street_starts", "street_endings")
)
"""Alternatives of a regular expression."""
SITE_WORDS = frozenset(_LISTS["site_words"])
"""Words before the number of a part of a site, in lower case."""
HOUSE_WORDS = frozenset(_LISTS["house_words"]) | frozenset(STREET_WORDS.split("|"))
"""Words of streets and houses in lower case."""


def join_words(name: str) -> str:
    """A list as alternatives of a regular expression, the longest first."""
    return "|".join(re.escape(word) for word in sorted(_LISTS[name], key=len, reverse=True))


def is_ordinary(word: str, vocabulary: Vocabulary) -> bool:
    """Whether a word is one of the language or the domain, so that it is not read as part of a name."""
    bare = word.strip(".,'’-")
    return (
        bare.lower() in vocabulary.ordinary_words | vocabulary.function_words | vocabulary.medicines
        or bare in vocabulary.abbreviations
        or bare in ABBREVIATIONS
        or bare.upper() in vocabulary.heading_words
    )


_INNER_STOP = re.compile(r"[.](?=[ \t]*(?:[\n,;:)|]|\Z)|[ ][^\W\d_A-ZÀ-ÖØ-Þ])")


def is_inner_stop(text: str, at: int) -> bool:
    """Whether the full stop here belongs to an abbreviation: no sentence starts after it on the same line."""
    return _INNER_STOP.match(text, at) is not None


def has_ordinary_word(words: Iterable[str], vocabulary: Vocabulary) -> bool:
    return any(is_ordinary(word, vocabulary) for word in words)
