"""Decides whether a word is a medicine, and maps brand names to generic names.

Uses `packs/clinical/medicine_names.txt`. A combination such as Percocet does not count as its components.
"""

from collections.abc import Mapping
from typing import Final

from fine_tune_assets.claims.clinical_lists import clinical_lists, clinical_words
from fine_tune_assets.core.word_lists import read_variants

_LISTS: Final = clinical_lists("medicine_names")
_SUFFIXES: Final = _LISTS["endings"]
_FALSE_MATCHES: Final = frozenset(_LISTS["no_medicines"])
"""Words with such an ending that are not medicines."""
_MIN_SUFFIX_MATCH_LETTERS: Final = 6
"""A shorter word needs more than its ending."""
_GENERIC_BY_BRAND: Final[Mapping[str, str]] = {
    brand: generic for generic, brands in read_variants(_LISTS["brands"]).items() for brand in brands
}
_ADDITIONAL_NAMES: Final = (
    frozenset(_LISTS["more_medicines"]) | frozenset(_GENERIC_BY_BRAND) | frozenset(_GENERIC_BY_BRAND.values())
)


def is_listed_medicine(word: str) -> bool:
    return word in clinical_words("medicines") or word in _ADDITIONAL_NAMES


def is_medicine(word: str) -> bool:
    """Whether a lower-case word is listed or has the ending of a class of medicines.

    >>> is_medicine("lisinopril"), is_medicine("metropolol"), is_medicine("april")
    (True, True, False)
    """
    return is_listed_medicine(word) or (
        len(word) >= _MIN_SUFFIX_MATCH_LETTERS and word.endswith(_SUFFIXES) and word not in _FALSE_MATCHES
    )


def find_generic_name(word: str) -> str:
    """The generic name of a brand; any other word unchanged."""
    return _GENERIC_BY_BRAND.get(word, word)
