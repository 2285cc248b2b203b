"""Words that decide what is a name or an address: words around names and places, and ordinary words that recognizers take for
names.

Owns what each list in `reference/name_words.txt`, `reference/place_words.txt` and `packs/clinical/ordinary_words.txt` is for. A
name that the report's metadata states is never trimmed.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from fine_tune_assets.core.word_lists import pack_lists, read_lists

_REFERENCE = Path(__file__).parents[1] / "reference"
_FILE = read_lists(_REFERENCE / "name_words.txt")
_LISTS = {name: frozenset(words) for name, words in _FILE.items()}
ALSO_WORDS = _LISTS["also_words"]
"""Names that are ordinary words too: alone, only the capitalised word is the name. Without this, every "good" and "may"
goes from the report of a Dr. Good."""
_DISEASE_NAMES = pack_lists("disease_names")
EPONYMS = frozenset(_DISEASE_NAMES["eponyms"])
"""Persons after whom something in medicine is called."""
DISEASES_ALONE = frozenset(_DISEASE_NAMES["diseases_alone"])
"""Eponyms that are said without "disease", in lists of such: "Hashimoto's, Graves, Crohn's"."""
PERSONS_IN_ORDINARY_WORDS = _LISTS["persons_in_ordinary_words"]
"""Persons after whom something is called among the ordinary words; where such a name is the patient's, it is a name."""
EPONYM_NOUN = rf"(?:{'|'.join(_DISEASE_NAMES['eponym_nouns'])})"
TITLES = _LISTS["titles"]
SPOKEN_TITLES = _LISTS["spoken_titles"]
"""After these, a word in lower case may be any word: the doctor will see you."""
CREDENTIALS = _LISTS["credentials"]
PARTICLES = _LISTS["particles"]
NO_NAMES = _LISTS["no_names"]
"""What fields for names hold when there is no name."""
ABBREVIATIONS = _LISTS["abbreviations"]
"""What capitals mean in notes, and the states of the USA: never taken for initials. With what two or three capitals stand twice
in the notes of MTS-Dialog, ACI-Bench and PriMock57 and in PubMedQA."""
DOTTED_ABBREVIATIONS = _LISTS["dotted_abbreviations"]
"""What is written with dots and is no name: M.D., p.o."""
ROLES = _FILE["roles"]
"""Relatives, friends and people at work, after whom a name may stand: sister Ann."""
SURROGATE_TITLES = _LISTS["surrogate_titles"]
SURROGATE_CREDENTIALS = _LISTS["surrogate_credentials"]
SURROGATE_PARTICLES = _LISTS["surrogate_particles"]
"""Parts of a name that stay when the name is replaced."""
SHORT_NAMES = _LISTS["short_names"]
"""Names of two letters."""


_PLACE_LISTS = read_lists(_REFERENCE / "place_words.txt")
_WORDS = {name: frozenset(words) for name, words in _PLACE_LISTS.items()}
STATE_CODES, STATE_NAMES = _WORDS["state_codes"], _WORDS["state_names"]
FIFTY_STATES = {name.title() for name in STATE_NAMES} - {"District Of Columbia", "Puerto Rico"}
COUNTRIES = _WORDS["countries"]
"""Without those that are well-known American places as well, such as Lebanon, Cuba, Peru, Poland, Mexico, Jamaica."""
USA = _WORDS["usa"]
STREET_WORDS = "|".join(_PLACE_LISTS["street_words"])
BUILDING_WORDS, AREA_WORDS, SITE_WORDS = _WORDS["building_words"], _WORDS["area_words"], _WORDS["site_words"]
HEADS, MIDDLES, TAILS = _PLACE_LISTS["heads"], _PLACE_LISTS["middles"], _PLACE_LISTS["tails"]
"""What an invented name is put together from."""
SHORT_FORMS = {long: short for long, _, short in (entry.partition(": ") for entry in _PLACE_LISTS["short_forms"])}
"""street → st: both are looked for."""
STREET_TYPES = _WORDS["street_types"]
STATES = _WORDS["states"]
"""States and countries in small letters: alone they are not removed."""
GENERIC, KINDS_OF_PLACE = _WORDS["generic"], _WORDS["kinds_of_place"]
"""Words of the name of a site, in their short forms, that do not tell which site it is."""
TOWNS_THAT_ARE_WORDS = _WORDS["towns_that_are_words"]
STRONG_SITE_WORDS, WEAK_SITE_WORDS = _PLACE_LISTS["strong_site_words"], _PLACE_LISTS["weak_site_words"]
"""Words that a name of a site goes on with: a weak one only beside a strong one."""
NO_SITES = _WORDS["no_sites"]
"""Capitalised words before such a word that belong to no name."""


_ORDINARY_LISTS = {name: frozenset(words) for name, words in pack_lists("ordinary_words").items()}

_HEADING_LINE = re.compile(r"^[ \t]*([A-Z][A-Z &/,()'-]{1,79}):?[ \t]*$", re.MULTILINE)
_TOKEN = re.compile(r"[^\s,;:/()\[\]{}\"“”•*|]+")
_DOSE_AFTER = re.compile(
    r"[ ]?(?:\(\w+\)[ ])?"
    r"(?:\d+(?:[.,/-]\d+)*[ ]?-?(?:mg|mcg|µg|g|ml|units?|iu|%|mm|cm|mmhg|x|times|tabs?|tablets?)?\b)",
    re.I,
)

HEADING_WORDS, BODY_HEADINGS = _ORDINARY_LISTS["heading_words"], _ORDINARY_LISTS["body_headings"]

ORDINARY_WORDS = _ORDINARY_LISTS["ordinary_words"]


def protected_lines(text: str) -> list[tuple[int, int]]:
    """Offsets of section headings: lines in capitals made of heading words only, so that no name is among them."""
    return [
        match.span(1)
        for match in _HEADING_LINE.finditer(text)
        if all(word in HEADING_WORDS for word in re.findall(r"[A-Z][A-Z/'-]*", match[1]))
    ]


def name_like_parts(text: str, start: int, end: int, is_facility: bool) -> Iterator[tuple[int, int]]:
    """What of a finding can be a name: line by line, without ordinary and lower-case words at its ends.

    The name of a facility keeps its ordinary words ("General Hospital"), but not "the" and "at" before it.
    """
    for line in re.finditer(r"[^\r\n]+", text[start:end]):
        offset = start + line.start()
        tokens = [(offset + t.start(), offset + t.end()) for t in _TOKEN.finditer(line[0])]
        kept = _without_function_words(text, tokens) if is_facility else _without_ordinary_words(text, tokens)
        if kept and not _DOSE_AFTER.match(text, kept[-1][1]):
            yield kept[0][0], kept[-1][1]


Offsets = list[tuple[int, int]]


def _without_ordinary_words(text: str, tokens: Offsets) -> Offsets:
    kept = list(tokens)
    while kept and _is_ordinary(text[slice(*kept[0])]):
        kept.pop(0)
    while kept and _is_ordinary(text[slice(*kept[-1])]):
        kept.pop()
    # "Vitamin D. Hepatitis C." leaves initials that stand by no name.
    words = [text[slice(*token)] for token in tokens]
    has_name = any(not _is_ordinary(word) and not _INITIAL.fullmatch(word) for word in words)
    return kept if has_name or not any(map(_is_ordinary, words)) else []


def _without_function_words(text: str, tokens: Offsets) -> Offsets:
    kept = list(tokens)
    while kept and text[slice(*kept[0])].lower() in _ORDINARY_LISTS["function_words"]:
        kept.pop(0)
    return kept if len(kept) > 1 else []


_INITIAL = re.compile(r"[A-Z]\.")
# Vertebrae, oxygen, grades and stages; and the speakers of a dialogue, such as Doctor_2.
_LETTER_AND_NUMBER = re.compile(r"[A-Za-z]\d{1,2}|[A-Za-z_]+_\d")
_GENERIC_MEDICINE = re.compile(
    r"[a-z]{3,}(?:pril|olol|artan|statin|azole|mycin|micin|cillin|oxacin|prazole|zepam|zolam|tidine|triptan|dipine"
    r"|gliptin|gliflozin|mab|tinib|parin|xaban|cyclovir|cycline|thiazide|semide|sone|solone|caine|setron|formin|barbital"
    r"|profen|oxetine|traline|pramine|fenac|coxib|zosin|terol|lukast|glitazone|peridone|apine)"
)


def _is_ordinary(token: str) -> bool:
    if _INITIAL.fullmatch(token):
        return False
    bare = token.strip(".?!'’-")
    bare = bare[:-2] if bare.endswith(("'s", "’s")) and bare.lower() not in ORDINARY_WORDS else bare
    return (
        bare == bare.lower()
        or bare.lower() in ORDINARY_WORDS
        or _LETTER_AND_NUMBER.fullmatch(bare) is not None
        or _GENERIC_MEDICINE.fullmatch(bare.lower()) is not None
    )
