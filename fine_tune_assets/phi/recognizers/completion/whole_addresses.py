"""Grows part of an address to the whole address of a line: house names, flats, house numbers, post codes and towns.

Stops at the end of a sentence, at a label with a colon, and at words that are not part of an address.
"""

from collections.abc import Sequence

from fine_tune_assets.phi.recognizers.completion.address_patterns import (
    ABBREVIATED,
    ADDRESS_FOLLOWS,
    ARTICLE_BEFORE,
    CANTON_AFTER,
    CODE_AND_TOWN_AT_END,
    FLAT_CODE_BEFORE,
    GAP,
    HOME_FOLLOWS,
    HOUSE_NUMBER_AND_POSTCODE_GAP,
    HOUSE_NUMBER_GAP,
    INITIALS_AT_END,
    NAME_BEFORE,
    NUMBER_AFTER,
    NUMBER_AND_POSTCODE_AFTER,
    NUMBER_BEFORE,
    NUMBER_BEFORE_POSTCODE,
    NUMBERED_PART_BEFORE,
    OLD_OR_NEW_BEFORE,
    PLAIN_GAP,
    POSTCODE_AFTER,
    QUOTED_NAME_BEFORE,
    REGION_AFTER,
    STARTS_AFTER_HOUSE_NUMBER,
    STREET_BEFORE_POSTCODE,
    STREET_START_BEFORE,
    STREET_WORD_FIRST,
    TOWN_AFTER,
    UNIT_AFTER,
    UNIT_BEFORE,
    UNIT_FIRST,
    UNIT_WORD_BEFORE,
    UNMISTAKABLE_POSTCODE,
    WHOLE_POSTCODE,
    WORD_AFTER,
    WORDS,
    WORDS_BEFORE_STREET,
)
from fine_tune_assets.phi.recognizers.completion.identifier_parts import (
    CANTONS,
    DEFINED_TERMS,
    HOUSE_WORDS,
    SITE_WORDS,
    has_ordinary_word,
    is_inner_stop,
    is_ordinary,
)
from fine_tune_assets.phi.spans.spans import Offsets, Span
from fine_tune_assets.phi.spans.vocabulary import Vocabulary

_WINDOW = 80
_MAX_GAP = 40


def grow_address(text: str, span: Span, limits: Offsets, vocabulary: Vocabulary) -> Offsets:
    """Offsets of a place with the neighbouring parts of its address. `limits`: end of the finding before, start of the next."""
    start, end = span.start, span.end
    while (grown := _grow_left(text, start, end, limits[0], vocabulary)) < start:
        start = grown
    while (grown := _grow_right(text, start, end, limits[1], vocabulary)) > end:
        end = grown
    return start, end + (INITIALS_AT_END.search(text[start:end]) is not None and is_inner_stop(text, end))


def is_one_address(text: str, left: Span, right: Span, vocabulary: Vocabulary) -> bool:
    """Whether only parts of an address separate two places, of which one has a house number, post code or street."""
    gap = text[left.end : right.start]
    values = [text[span.start : span.end] for span in (left, right)]
    if not any(c.isalpha() for c in "".join(values)):
        return False
    if HOUSE_NUMBER_AND_POSTCODE_GAP.fullmatch(gap):
        return True
    if "\n" in gap or len(gap) > _MAX_GAP or gap[-1:] not in (" ", "-") or not any(map(_is_address, values)):
        return False
    if not any(map(_has_digit, values)) and PLAIN_GAP.fullmatch(gap) is None:
        return False
    if left.label == "NAME" and not _is_named_house(text[: left.start], values[0], gap, values[1]):
        return False
    if "FACILITY" in (left.label, right.label) and not _is_home(text[: left.start], gap, values):
        return False
    if gap.startswith(". ") and ABBREVIATED.search(values[0]) is None:
        return False
    words = [
        word for word in WORDS.findall(gap) if word[0].isupper() and len(word) > 3 and word.lower() not in HOUSE_WORDS
    ]
    return GAP.fullmatch(gap) is not None and not has_ordinary_word(words, vocabulary)


def _grow_left(text: str, start: int, end: int, limit: int, vocabulary: Vocabulary) -> int:
    before = text[max(text.rfind("\n", 0, start), start - _WINDOW, 0) : start]
    free = before[-(start - limit) :] if start > limit else ""
    return start - _count_characters_before(before, free, text[start:end], vocabulary)


def _count_characters_before(before: str, free: str, value: str, vocabulary: Vocabulary) -> int:
    """Length of the part of the address before `value`; a name is taken only from `free`, which contains no finding."""
    has_comma, has_digit, is_address = "," in value, _has_digit(value), _is_address(value)
    if (is_address or has_comma) and (unit := UNIT_BEFORE.search(before)):
        return len(unit[0])
    if value[0].isdigit() and (has_comma or _has_house_word(value)) and (word := UNIT_WORD_BEFORE.search(before)):
        return len(word[0])
    if is_address and OLD_OR_NEW_BEFORE.search(before) and value.startswith(("No", "Nr")):
        return len("Old ")
    if value[0].isdigit() and has_comma and (part := _find_part_start(free)):
        return part
    if STARTS_AFTER_HOUSE_NUMBER.match(value) and (street := _find_street_start(free, vocabulary)):
        return street
    first = STREET_START_BEFORE.search(before)
    if first and (has_digit or _has_digit(first[0])):
        return len(first[0])
    if has_comma and STREET_WORD_FIRST.match(value):
        words = WORDS_BEFORE_STREET.search(before)
        return len(words[0]) if words else 0
    if (is_address or has_comma) and value[0].isalpha() and (number := NUMBER_BEFORE.search(before)):
        return len(number["number"])
    is_complete = has_digit or (is_address and (has_comma or "\n" in value))
    if is_complete and (article := ARTICLE_BEFORE.search(before)):
        return len(article[0])
    is_street = not value.isdigit() and (value[0].isdigit() or _has_house_word(value.split(",")[0]))
    is_street = is_street or (has_comma and UNMISTAKABLE_POSTCODE.search(value) is not None)
    if is_street and has_digit and (quoted := QUOTED_NAME_BEFORE.search(before)):
        is_house = quoted["name"].lower() not in DEFINED_TERMS and _is_place_name(quoted["name"], vocabulary)
        return len(quoted[0]) if is_house else 0
    name = NAME_BEFORE.search(free) if is_street and has_digit else None
    return len(name[0]) if name and _is_place_name(name["name"], vocabulary) else 0


def _find_part_start(free: str) -> int:
    """Number of characters of a flat or a part of a site before a house number: 3F2, / Kiosk 7,."""
    if flat := FLAT_CODE_BEFORE.search(free):
        return len(flat["part"])
    part = NUMBERED_PART_BEFORE.search(free)
    words = WORDS.findall(part["words"].lower()) if part else [""]
    return len(part["part"]) if part and words[-1] in SITE_WORDS else 0


def _find_street_start(before: str, vocabulary: Vocabulary) -> int:
    """Number of characters of a street and house number before a post code and town: Polgasse 4/2, 8020 Graz."""
    street = STREET_BEFORE_POSTCODE.search(before)
    if street and _is_place_name(street["name"], vocabulary):
        return len(street[0])
    number = NUMBER_BEFORE_POSTCODE.search(before)
    return len(number[0]) if number else 0


def _grow_right(text: str, start: int, end: int, limit: int, vocabulary: Vocabulary) -> int:
    value = text[start:end]
    if not any(c.isalpha() for c in value):
        return end
    if not _is_address(value):
        number = NUMBER_AND_POSTCODE_AFTER.match(text, end)
        return number.end() if number else end
    for pattern in (UNIT_AFTER, NUMBER_AFTER, POSTCODE_AFTER, REGION_AFTER):
        if match := pattern.match(text, end):
            return match.end()
    canton = CANTON_AFTER.match(text, end) if CODE_AND_TOWN_AT_END.search(value) else None
    if canton and canton["canton"] in CANTONS - vocabulary.abbreviations:
        return canton.end()
    word = WORD_AFTER.match(text, end)
    if word and word["word"].lower() in HOUSE_WORDS and word["word"].lower() not in vocabulary.protected_words:
        return word.end()
    town = TOWN_AFTER.match(text, end)
    is_free = town is not None and town.end() <= limit
    return town.end() if town and is_free and _is_place_name(town["name"], vocabulary) else end


def _is_home(before: str, gap: str, values: Sequence[str]) -> bool:
    """Whether a facility is a building of an address; a hospital and its address stay two findings."""
    if gap == ", " and HOME_FOLLOWS.search(before[-_WINDOW:]):
        return True
    return all(_has_house_word(value) or _has_digit(value) or "," in value for value in values)


def _is_named_house(before: str, name: str, gap: str, place: str) -> bool:
    """Whether the tagger took a house, a street or a town for a person: Larkspur Cottage, 1 Elm Row / Dunoon PA23 9XX."""
    words = WORDS.findall(name.lower())
    if HOUSE_NUMBER_GAP.fullmatch(gap):
        return UNIT_FIRST.match(place) is not None
    if gap == " ":
        return len(words) == 1 and is_postcode(place)
    is_house = (len(words) > 1 and words[-1] in HOUSE_WORDS) or ADDRESS_FOLLOWS.search(before[-_WINDOW:]) is not None
    return gap == ", " and is_house and _has_digit(place)


def is_postcode(value: str) -> bool:
    return WHOLE_POSTCODE.fullmatch(value) is not None and _has_digit(value)


def _is_place_name(name: str, vocabulary: Vocabulary) -> bool:
    words = WORDS.findall(name)
    content = [word for word in words if word[0].isupper() and word not in ("The", "Old")]
    if words[-1].lower() in HOUSE_WORDS and len(words) > 1:
        return not has_ordinary_word(words[:1], vocabulary) or words[0] in ("The", "Old")
    return bool(content) and not any(
        is_ordinary(w, vocabulary) or w.lower() in vocabulary.protected_words for w in content
    )


def _is_address(value: str) -> bool:
    return _has_digit(value) or _has_house_word(value)


def _has_digit(value: str) -> bool:
    return any(c.isdigit() for c in value)


def _has_house_word(value: str) -> bool:
    return not HOUSE_WORDS.isdisjoint(word.lower() for word in WORDS.findall(value))
