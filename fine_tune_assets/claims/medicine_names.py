"""Whether a word is a medicine, and which brand names are the same one.

Owns what the endings and brands in `packs/clinical/medicine_names.txt` decide. A combination such as
Percocet is none of its parts here.
"""

from collections.abc import Mapping
from typing import Final

from fine_tune_assets.core.word_lists import pack_lists, pack_words, read_variants

_LISTS: Final = pack_lists("medicine_names")
_ENDINGS: Final = _LISTS["endings"]
_NONE: Final = frozenset(_LISTS["no_medicines"])
"""Words with such an ending that are no medicine."""
_ENDING_LETTERS: Final = 6
"""A shorter word is none by its ending alone."""
_GENERIC: Final[Mapping[str, str]] = {
    brand: generic for generic, brands in read_variants(_LISTS["brands"]).items() for brand in brands
}
_MORE: Final = frozenset(_LISTS["more_medicines"]) | frozenset(_GENERIC) | frozenset(_GENERIC.values())


def is_listed(word: str) -> bool:
    return word in pack_words("medicines") or word in _MORE


def is_medicine(word: str) -> bool:
    """Whether a word in small letters is on a list, or ends as medicines of a class do.

    >>> is_medicine("lisinopril"), is_medicine("metropolol"), is_medicine("april")
    (True, True, False)
    """
    return is_listed(word) or (len(word) >= _ENDING_LETTERS and word.endswith(_ENDINGS) and word not in _NONE)


def generic_name(word: str) -> str:
    """The substance of a brand; the word itself for every other one."""
    return _GENERIC.get(word, word)
