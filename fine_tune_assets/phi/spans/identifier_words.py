"""Word lists that decide what is a name or an address, and which ordinary words recognizers take for names.

Reads `reference/name_words.txt` and `reference/place_words.txt`; the words of a domain come from its vocabulary. Trimming never
applies to names from the report's metadata.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from fine_tune_assets.core.word_lists import read_lists
from fine_tune_assets.phi.spans.vocabulary import Vocabulary

_REFERENCE = Path(__file__).parents[1] / "reference"
_NAME_LISTS = read_lists(_REFERENCE / "name_words.txt")
_NAME_SETS = {name: frozenset(words) for name, words in _NAME_LISTS.items()}
AMBIGUOUS_NAMES = _NAME_SETS["ambiguous_names"]
"""Names that are also ordinary words: alone, only the capitalised word counts as the name. Without this list, every "good" and
"may" would be removed from the reports of a Dr. Good."""
EPONYMOUS_WORDS = _NAME_SETS["eponymous_words"]
"""People after whom an everyday term is named. The word is still a name if the subject has that name."""
TITLES = _NAME_SETS["titles"]
SPOKEN_TITLES = _NAME_SETS["spoken_titles"]
"""A lower-case word after these may be any word: "the doctor will see you"."""
CREDENTIALS = _NAME_SETS["credentials"]
PARTICLES = _NAME_SETS["particles"]
MISSING_NAME_VALUES = _NAME_SETS["missing_name_values"]
"""Values of name fields that mean "no name"."""
ABBREVIATIONS = _NAME_SETS["abbreviations"]
"""Abbreviations in capitals and US state codes, never read as initials. Contains every two- or three-letter one that occurs at
least twice in the notes of MTS-Dialog, ACI-Bench, PriMock57 or in PubMedQA."""
DOTTED_ABBREVIATIONS = _NAME_SETS["dotted_abbreviations"]
"""Dotted abbreviations that are not names: M.D., p.o."""
ROLES = _NAME_LISTS["roles"]
"""Relatives, friends and occupations that a name may follow: sister Ann."""
SURROGATE_TITLES = _NAME_SETS["surrogate_titles"]
SURROGATE_CREDENTIALS = _NAME_SETS["surrogate_credentials"]
SURROGATE_PARTICLES = _NAME_SETS["surrogate_particles"]
"""Parts of a name that are kept when the name is replaced."""
SHORT_NAMES = _NAME_SETS["short_names"]
"""Names of two letters."""


_PLACE_LISTS = read_lists(_REFERENCE / "place_words.txt")
_PLACE_SETS = {name: frozenset(words) for name, words in _PLACE_LISTS.items()}
STATE_CODES, STATE_NAMES = _PLACE_SETS["state_codes"], _PLACE_SETS["state_names"]
FIFTY_STATES = {name.title() for name in STATE_NAMES} - {"District Of Columbia", "Puerto Rico"}
COUNTRIES = _PLACE_SETS["countries"]
"""Without countries that are also well-known American places: Lebanon, Cuba, Peru, Poland, Mexico, Jamaica."""
USA_NAMES = _PLACE_SETS["usa_names"]
STREET_WORDS = "|".join(_PLACE_LISTS["street_words"])
BUILDING_WORDS, AREA_WORDS, SITE_WORDS = (
    _PLACE_SETS["building_words"],
    _PLACE_SETS["area_words"],
    _PLACE_SETS["site_words"],
)
PLACE_NAME_STARTS, PLACE_NAME_MIDDLES, PLACE_NAME_ENDINGS = (
    _PLACE_LISTS["place_name_starts"],
    _PLACE_LISTS["place_name_middles"],
    _PLACE_LISTS["place_name_endings"],
)
"""Parts from which place names are invented."""
PLACE_ABBREVIATIONS = {
    long: short for long, _, short in (entry.partition(": ") for entry in _PLACE_LISTS["place_abbreviations"])
}
"""street → st; the search covers both."""
STREET_TYPES = _PLACE_SETS["street_types"]
STATES_AND_COUNTRIES = _PLACE_SETS["states_and_countries"]
"""States and countries in lower case; alone, they are kept."""
GENERIC_SITE_WORDS, SITE_TYPES = _PLACE_SETS["generic_site_words"], _PLACE_SETS["site_types"]
"""Words in a site's name, as abbreviated, that do not identify the site."""
AMBIGUOUS_TOWNS = _PLACE_SETS["ambiguous_towns"]
STRONG_SITE_WORDS, WEAK_SITE_WORDS = _PLACE_LISTS["strong_site_words"], _PLACE_LISTS["weak_site_words"]
"""Words that extend a site's name; a weak one counts only next to a strong one."""
NON_SITE_WORDS = _PLACE_SETS["non_site_words"]
"""Capitalised words before a site word that do not belong to its name."""


MEASURES = {name: "|".join(entries) for name, entries in read_lists(_REFERENCE / "measures.txt").items()}
"""Words around a quantity, as alternatives of a regular expression."""
_HEADING_LINE = re.compile(r"^[ \t]*([A-Z][A-Z &/,()'-]{1,79}):?[ \t]*$", re.MULTILINE)
_TOKEN = re.compile(r"[^\s,;:/()\[\]{}\"“”•*|]+")
_DOSE_AFTER = re.compile(
    r"[ ]?(?:\(\w+\)[ ])?"
    rf"(?:\d+(?:[.,/-]\d+)*[ ]?-?(?:{MEASURES['dose_units']})?\b)",
    re.I,
)


def find_heading_lines(text: str, vocabulary: Vocabulary) -> list[tuple[int, int]]:
    """Offsets of section headings: lines in capitals that consist of heading words only, so that they contain no name."""
    return [
        match.span(1)
        for match in _HEADING_LINE.finditer(text)
        if all(word in vocabulary.heading_words for word in re.findall(r"[A-Z][A-Z/'-]*", match[1]))
    ]


def find_name_parts(
    text: str, start: int, end: int, is_facility: bool, vocabulary: Vocabulary
) -> Iterator[tuple[int, int]]:
    """Reduce a finding to what can be a name: per line, without ordinary and lower-case words at its ends.

    The name of a facility keeps its ordinary words ("General Hospital"), but not a leading "the" or "at".
    """
    for line in re.finditer(r"[^\r\n]+", text[start:end]):
        offset = start + line.start()
        tokens = [(offset + t.start(), offset + t.end()) for t in _TOKEN.finditer(line[0])]
        trim = _trim_function_words if is_facility else _trim_ordinary_words
        remaining = trim(text, tokens, vocabulary)
        if remaining and not _DOSE_AFTER.match(text, remaining[-1][1]):
            yield remaining[0][0], remaining[-1][1]


Offsets = list[tuple[int, int]]


def _trim_ordinary_words(text: str, tokens: Offsets, vocabulary: Vocabulary) -> Offsets:
    remaining = list(tokens)
    while remaining and _is_ordinary(text[slice(*remaining[0])], vocabulary):
        remaining.pop(0)
    while remaining and _is_ordinary(text[slice(*remaining[-1])], vocabulary):
        remaining.pop()
    # "Vitamin D. Hepatitis C." leaves initials that belong to no name.
    words = [text[slice(*token)] for token in tokens]
    ordinary = [_is_ordinary(word, vocabulary) for word in words]
    has_name = any(not is_word and not _INITIAL.fullmatch(word) for word, is_word in zip(words, ordinary, strict=True))
    return remaining if has_name or not any(ordinary) else []


def _trim_function_words(text: str, tokens: Offsets, vocabulary: Vocabulary) -> Offsets:
    remaining = list(tokens)
    while remaining and text[slice(*remaining[0])].lower() in vocabulary.function_words:
        remaining.pop(0)
    return remaining if len(remaining) > 1 else []


_INITIAL = re.compile(r"[A-Z]\.")
# Vertebrae, oxygen, grades and stages; and speaker labels such as Doctor_2.
_LETTER_AND_NUMBER = re.compile(r"[A-Za-z]\d{1,2}|[A-Za-z_]+_\d")


def _is_ordinary(token: str, vocabulary: Vocabulary) -> bool:
    if _INITIAL.fullmatch(token):
        return False
    bare = token.strip(".?!'’-")
    bare = bare[:-2] if bare.endswith(("'s", "’s")) and bare.lower() not in vocabulary.ordinary_words else bare
    return (
        bare == bare.lower()
        or bare.lower() in vocabulary.ordinary_words
        or _LETTER_AND_NUMBER.fullmatch(bare) is not None
        or vocabulary.medicine_ending.fullmatch(bare.lower()) is not None
    )
