"""Finds people, body sites, durations and frequencies of a text that its record does not state.

Each check compares a value in all its spellings: "mom" is the mother, "14 days" are two weeks, "bid" is twice a day. Like
`grounding_checks` they are hints for a judge, which weighs them against what it reads.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from fine_tune_assets.claims.frequencies import extract_frequencies
from fine_tune_assets.claims.grounding_checks import GroundingCheck
from fine_tune_assets.claims.negation_words import SITE_BY_FORM
from fine_tune_assets.core.word_lists import read_lists, read_variants
from fine_tune_assets.quantities.number_words import UNITS

_DAYS: Final = {"minute": 1 / 1440, "hour": 1 / 24, "day": 1.0, "week": 7.0, "month": 30.0, "year": 365.0}
_SAME_DURATION: Final = 0.06
"""Largest relative difference of two spellings of one duration, such as 12 months and a year."""
_NUMBER: Final = rf"(?:\d+(?:\.\d+)?|an?|couple(?:\s+of)?|{'|'.join(UNITS)})"
_DURATION: Final = re.compile(
    rf"\b(?P<first>{_NUMBER})(?:\s*(?:-|to|or)\s*(?P<second>{_NUMBER}))?[\s-]+(?P<unit>minute|hour|day|week|month|year)s?\b"
    r"(?![\s-]*(?:old|of\s+age))",
    re.IGNORECASE,
)
_BARE_NUMBER: Final = re.compile(rf"\b(?:\d+(?:\.\d+)?|{'|'.join(UNITS)})\b", re.IGNORECASE)
PERSON_BY_FORM: Final[Mapping[str, str]] = {
    form: person
    for person, forms in read_variants(read_lists(Path(__file__).parent / "reference" / "people.txt")["people"]).items()
    for form in forms
}
_WORD: Final = re.compile(r"[A-Za-z]+")
_BACK_OF: Final = "".join(
    rf"(?<!\b{word} )" for word in ("the", "his", "her", "my", "lower", "upper", "low", "mid", "of")
)
_ADVERB: Final = re.compile(rf"{_BACK_OF}\bback\b(?!\s+(?:pain|ache|injury|surgery))", re.IGNORECASE)
"""Back as in "came back", which is not a body site."""


@dataclass(frozen=True)
class _Duration:
    days: frozenset[float]
    """Two values for a range."""
    numbers: frozenset[float]
    start: int
    written: str


def find_unsupported_people(output: str, input_text: str) -> list[str]:
    """Relatives and other people in `output`, as written, whom the input does not mention.

    >>> find_unsupported_people("Her sister has asthma, her mother has not.", "My mom is fine.")
    ['sister']
    """
    return _find_unlisted(output, input_text, PERSON_BY_FORM)


def find_unsupported_sites(output: str, input_text: str) -> list[str]:
    """Body sites in `output`, as written, that the input does not mention.

    >>> find_unsupported_sites("Pain in the knee.", "My ankle hurts.")
    ['knee']
    """
    return _find_unlisted(output, input_text, SITE_BY_FORM)


def find_unsupported_durations(output: str, input_text: str) -> list[str]:
    """Durations in `output`, as written, that the input states neither so nor in another unit.

    >>> find_unsupported_durations("For 14 days, since 3 months.", "It began two weeks ago.")
    ['3 months']
    """
    stated, bare = _read_input_durations(input_text)
    # The day of "twice a day" is not a duration.
    frequencies = {at for found in extract_frequencies(output) for at in range(found.start, found.end)}
    return list(
        dict.fromkeys(
            duration.written
            for duration in _extract_durations(output)
            if duration.start not in frequencies
            and not any(_is_among(one, stated) for one in duration.days)
            and not (duration.numbers - {1.0}) & bare
        )
    )


def find_unsupported_frequencies(output: str, input_text: str) -> list[str]:
    """Frequencies in `output`, as written, that the input does not state.

    >>> find_unsupported_frequencies("40 mg twice daily, exercise weekly.", "I take it bid.")
    ['weekly']
    """
    stated = _read_input_intervals(input_text)
    return list(
        dict.fromkeys(
            " ".join(output[found.start : found.end].split())
            for found in extract_frequencies(output)
            if not found.interval_hours & stated
        )
    )


VALUE_CHECKS: Final[Mapping[str, GroundingCheck]] = {
    "people": find_unsupported_people,
    "sites": find_unsupported_sites,
    "durations": find_unsupported_durations,
    "frequencies": find_unsupported_frequencies,
}


def _find_unlisted(output: str, input_text: str, names: Mapping[str, str]) -> list[str]:
    stated = {names[word] for word in _read_words(input_text) if word in names}
    plain = _ADVERB.sub(" ", output)
    found = [match.group() for match in _WORD.finditer(plain) if match.group().lower() in names]
    return list(dict.fromkeys(word for word in found if names[word.lower()] not in stated))


@lru_cache(256)
def _read_words(text: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _WORD.findall(text))


@lru_cache(256)
def _read_input_intervals(text: str) -> frozenset[float]:
    return frozenset(hours for found in extract_frequencies(text) for hours in found.interval_hours)


@lru_cache(256)
def _read_input_durations(text: str) -> tuple[Sequence[float], frozenset[float]]:
    """The durations of the input in days, sorted, and its numbers without a unit of time."""
    durations = list(_extract_durations(text))
    rest = _DURATION.sub(" ", text)
    bare = {_read_number(match.group()) for match in _BARE_NUMBER.finditer(rest)}
    return sorted({days for one in durations for days in one.days}), frozenset(bare)


def _extract_durations(text: str) -> Iterator[_Duration]:
    for match in _DURATION.finditer(text):
        numbers = frozenset(_read_number(match[name]) for name in ("first", "second") if match[name])
        unit = _DAYS[match["unit"].lower()]
        yield _Duration(
            frozenset(number * unit for number in numbers), numbers, match.start(), " ".join(match.group().split())
        )


def _read_number(written: str) -> float:
    word = written.lower()
    if word in ("a", "an"):
        return 1.0
    if word.startswith("couple"):
        return 2.0
    return float(UNITS[word]) if word in UNITS else float(word)


def _is_among(days: float, stated: Sequence[float]) -> bool:
    """Whether one of the sorted durations is about as long."""
    at = bisect_left(stated, days * (1 - _SAME_DURATION))
    return at < len(stated) and stated[at] <= days * (1 + _SAME_DURATION)
