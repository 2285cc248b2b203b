"""Words of addresses and of sites of care: which say a kind and stay, and which invented names are made of.

Owns what each list in `reference/place_words.txt` is for.
"""

from pathlib import Path

from fine_tune_assets.core.word_lists import read_lists

_LISTS = read_lists(Path(__file__).parent / "reference" / "place_words.txt")
_WORDS = {name: frozenset(words) for name, words in _LISTS.items()}
STATE_CODES, STATE_NAMES = _WORDS["state_codes"], _WORDS["state_names"]
FIFTY_STATES = {name.title() for name in STATE_NAMES} - {"District Of Columbia", "Puerto Rico"}
COUNTRIES = _WORDS["countries"]
"""Without those that are well-known American places as well, such as Lebanon, Cuba, Peru, Poland, Mexico, Jamaica."""
USA = _WORDS["usa"]
STREET_WORDS = "|".join(_LISTS["street_words"])
BUILDING_WORDS, AREA_WORDS, SITE_WORDS = _WORDS["building_words"], _WORDS["area_words"], _WORDS["site_words"]
HEADS, MIDDLES, TAILS = _LISTS["heads"], _LISTS["middles"], _LISTS["tails"]
"""What an invented name is put together from."""
SHORT_FORMS = {long: short for long, _, short in (entry.partition(": ") for entry in _LISTS["short_forms"])}
"""street → st: both are looked for."""
STREET_TYPES = _WORDS["street_types"]
STATES = _WORDS["states"]
"""States and countries in small letters: alone they are not removed."""
GENERIC, KINDS_OF_PLACE = _WORDS["generic"], _WORDS["kinds_of_place"]
"""Words of the name of a site, in their short forms, that do not tell which site it is."""
TOWNS_THAT_ARE_WORDS = _WORDS["towns_that_are_words"]
STRONG_SITE_WORDS, WEAK_SITE_WORDS = _LISTS["strong_site_words"], _LISTS["weak_site_words"]
"""Words that a name of a site goes on with: a weak one only beside a strong one."""
NO_SITES = _WORDS["no_sites"]
"""Capitalised words before such a word that belong to no name."""
