"""The words and kinds of a domain that decide what is an identifier, from its pack and from the lists of every domain."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.core.word_lists import read_lists
from fine_tune_assets.recipes.domain_packs import LoadedPack, load_pack

_SHARED = read_lists(Path(__file__).parents[1] / "reference" / "ordinary_words.txt")
_WHOLE_KINDS = {"FACILITY", "LOCATION"}
_NOTHING = r"(?!)"
"""A pattern that matches nothing: the alternatives of an empty list."""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Compared by identity, so that it can be the key of a cache."""

    kinds: tuple[str, ...]
    """Kinds of identifiers."""
    tag: re.Pattern[str]
    """A placeholder in tagged text, such as `[NAME]`."""
    heading_words: frozenset[str]
    """A line in capitals that consists of these is a heading, so that it contains no name."""
    body_headings: frozenset[str]
    ordinary_words: frozenset[str]
    """Words that recognizers mistake for names."""
    function_words: frozenset[str]
    trusted_rules: frozenset[str]
    """Recognizers of the pack that find a whole place or organization, so that no word of it is trimmed."""
    protected_words: frozenset[str]
    """Words of the domain that are never a name or place."""
    abbreviations: frozenset[str]
    """As written: aPTT, HFrEF."""
    medicines: frozenset[str]
    eponyms: frozenset[str]
    """People after whom a term is named, if one of `eponym_noun` follows."""
    standalone_eponyms: frozenset[str]
    """Eponyms used without "disease" in lists: "Hashimoto's, Graves, Crohn's"."""
    device_eponyms: frozenset[str]
    """People after whom scales, signs and devices are named, and `eponyms`."""
    eponym_noun: str
    """Regular expression for the words after an eponym."""
    scales_and_signs: str
    """Regular expression for the words after a scale or sign."""
    medicine_ending: re.Pattern[str]
    """A generic medicine in lower case."""


def load_vocabulary(domain: str) -> Vocabulary:
    """The vocabulary of a domain pack. Raises DomainPackError."""
    return _build_vocabulary(load_pack(domain))


@lru_cache(maxsize=16)
def _build_vocabulary(pack: LoadedPack) -> Vocabulary:
    own, names, measures = (pack.read_list(name) for name in ("ordinary_words", "disease_names", "measures"))
    protected = frozenset(word.lower() for word in pack.read_words("protected_words"))
    eponyms = frozenset(names.get("eponyms", ()))

    def with_shared(name: str) -> frozenset[str]:
        return frozenset((*_SHARED.get(name, ()), *own.get(name, ())))

    return Vocabulary(
        kinds=pack.pack.kinds,
        tag=re.compile(r"\[(?:" + "|".join(pack.pack.kinds) + r")\]"),
        heading_words=with_shared("heading_words"),
        body_headings=with_shared("body_headings"),
        ordinary_words=with_shared("ordinary_words") | protected,
        function_words=with_shared("function_words"),
        trusted_rules=frozenset(
            rule.name for one in pack.pack.identifiers if one.kind in _WHOLE_KINDS for rule in one.recognizers
        ),
        protected_words=protected,
        abbreviations=pack.read_words("abbreviations"),
        medicines=pack.read_words("medicines"),
        eponyms=eponyms,
        standalone_eponyms=frozenset(names.get("diseases_alone", ())),
        device_eponyms=pack.read_words("eponyms") | eponyms,
        eponym_noun=_join(names.get("eponym_nouns", ())),
        scales_and_signs=_join(measures.get("scales_and_signs", ())),
        medicine_ending=compile_bounded(rf"[a-z]{{3,}}{_join(measures.get('generic_medicine_endings', ()))}"),
    )


def _join(alternatives: Iterable[str]) -> str:
    return f"(?:{'|'.join(alternatives) or _NOTHING})"
