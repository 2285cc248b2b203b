"""The findings whose negation is looked at, and how notes and patients name each; and the sites of the body.

Owns the forms of the words in `reference/findings.txt`: which of them is negated where is read in `mentions`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from fine_tune_assets.core.word_lists import read_lists, read_variants

_LISTS: Final = read_lists(Path(__file__).parent / "reference" / "findings.txt")


def _forms(listed: Iterable[str]) -> dict[tuple[str, ...], str]:
    forms: dict[tuple[str, ...], str] = {}
    for name, written in read_variants(listed).items():
        for form in written:
            for spelled in (form, form + "s"):
                forms.setdefault(tuple(spelled.replace("-", " ").split()), name)
    return forms


FINDING_OF: Final[Mapping[tuple[str, ...], str]] = _forms(_LISTS["findings"])
"""The words of a form, in lower case, → what the finding is called."""
LONGEST_FORM: Final[Mapping[str, int]] = {
    first: max(len(words) for words in FINDING_OF if words[0] == first) for first in {words[0] for words in FINDING_OF}
}
"""First word → words of the longest form that begins with it."""

SITE_OF: Final[Mapping[str, str]] = {" ".join(form): site for form, site in _forms(_LISTS["body_sites"]).items()}
"""How a body site is written → what it is called."""
_EMPTY: Final = frozenset(_LISTS["empty_words"])


def stem(word: str) -> str:
    """What two spellings of a word share; a body site by its name, and nothing for a word that says nothing.

    >>> stem("tummy"), stem("radiating"), stem("radiates"), stem("the")
    ('abdomen', 'radiat', 'radiat', '')
    """
    if len(word) <= 2 or word in _EMPTY:
        return ""
    if word in SITE_OF:
        return SITE_OF[word]
    for ending in ("ing", "ed", "es", "s", "ly"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word
