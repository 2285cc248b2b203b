"""Reads spoken English number words: every value that a run of words can mean.

Digits and units are handled elsewhere.
"""

import re
from collections.abc import Mapping
from typing import Final

from fine_tune_assets.core.bounded_patterns import compile_bounded


def _number_by_word(words: str, values: range) -> dict[str, int]:
    return dict(zip(words.split(), values, strict=True))


UNITS: Final = _number_by_word(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen",
    range(20),
)
_TENS = _number_by_word("twenty thirty forty fifty sixty seventy eighty ninety", range(20, 100, 10))
_SCALES = {"hundred": 100, "thousand": 1000}
ORDINALS: Final = _number_by_word(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth",
    range(1, 21),
)
_DIGIT_WORDS: Mapping[str, str] = {word: str(value) for word, value in UNITS.items() if value < 10} | {
    "o": "0",
    "oh": "0",
}
_WORDS = {**UNITS, **_TENS, **_SCALES, **ORDINALS}
_ANY = "|".join(_WORDS)
WORD_RUN: Final = re.compile(rf"\b(?:{_ANY})(?:(?:-|\s+|\s+and\s+)(?:{_ANY}))*\b", re.IGNORECASE)
_DECADES = re.compile(rf"\b({'|'.join(word[:-1] + 'ies' for word in _TENS)})\b", re.IGNORECASE)
_WHOLE = rf"(?:(?:{_ANY}|o|oh)(?:[\s-]+(?:and\s+)?(?:{_ANY}|o|oh))*|\d+)"
_DECIMAL_WORD = rf"(?:{'|'.join([*_DIGIT_WORDS, *_TENS])})"
_DECIMALS = rf"(?:{_DECIMAL_WORD}(?:[\s-]+{_DECIMAL_WORD})*\b|\d+)"
# Transcripts write "seven . five" for a spoken decimal point.
_POINT = re.compile(rf"(?:\bpoint\s+|(?<=\s)\.\s(?=[a-z\d])|(?<=\s)\.(?=\d))({_DECIMALS})(?!\w)", re.IGNORECASE)
_AND_A_HALF = compile_bounded(r"\s+and\s+a\s+half\b", re.IGNORECASE)
_BEFORE_POINT = compile_bounded(rf"\b({_WHOLE})\s*$", re.IGNORECASE)
_BEFORE_HALF = compile_bounded(rf"\b({_WHOLE}|an?)(?:\s+(?!and\b)[a-z]+)?$", re.IGNORECASE)
_CONTEXT_LENGTH = 50
"""Characters searched before a point or a half; the longest case, "one hundred and twenty three", has 29."""
_SINGLE_PERIOD = re.compile(
    r"\b(?:an?|another|per|each|every|last|past|next)\s+(?:year|month|week|day|hour|minute)s?\b", re.IGNORECASE
)
_NAMED_NUMBERS: Final = {"once": "1", "twice": "2", "couple": "2", "dozen": "12", "half": "0.5"}
_MAX_RUN_WORDS = 6


def read_spoken_values(text: str) -> set[str]:
    """Every value that the words of a text can mean, including "two point five", "a year and a half", "a couple" and "fifties".

    >>> sorted(read_spoken_values("one o two point six for a week"))
    ['1', '102.6', '2', '2.6', '6']
    """
    values = set[str]()
    for run in WORD_RUN.finditer(text):
        words = split_run(run.group())
        for start in range(len(words)):
            for end in range(start + 1, min(len(words), start + _MAX_RUN_WORDS) + 1):
                values |= read_word_values(words[start:end])
    for match in _POINT.finditer(text):
        decimals = _read_decimals(match[1])
        values |= {
            f"{whole}.{decimals}" if decimals else whole for whole in _read_wholes_before(text, match, _BEFORE_POINT)
        }
    for match in _AND_A_HALF.finditer(text):
        values |= {f"{whole}.5" for whole in _read_wholes_before(text, match, _BEFORE_HALF)}
    values |= {str(_TENS[match[1].lower()[:-3] + "y"]) for match in _DECADES.finditer(text)}
    values |= {value for word, value in _NAMED_NUMBERS.items() if re.search(rf"\b{word}\b", text, re.IGNORECASE)}
    return values | ({"1"} if _SINGLE_PERIOD.search(text) else set())


def _read_wholes_before(text: str, match: re.Match[str], pattern: re.Pattern[str]) -> set[str]:
    """The number before a point or a half; zero if there is none."""
    before = pattern.search(text[max(0, match.start() - _CONTEXT_LENGTH) : match.start()])
    if before is None:
        return {"0"}
    return {"1"} if before[1].lower() in ("a", "an") else _read_wholes(before[1])


def _read_wholes(written: str) -> set[str]:
    """Every value of the words before a point: "one o two" is 102, and the last words may count alone."""
    if written.isdigit():
        return {written}
    words = split_run(written)
    endings = [words[start:] for start in range(len(words)) if all(word in _WORDS for word in words[start:])]
    values = set[str]().union(*(read_word_values(ending) for ending in endings))
    digits = [_DIGIT_WORDS.get(word) for word in words]
    return values | ({"".join(filter(None, digits))} if None not in digits else set())


def _read_decimals(written: str) -> str:
    """The digits after a point, without trailing zeros: "one twenty five" and "one two five" are both 125."""
    if written.isdigit():
        return written.rstrip("0")
    figures = ""
    after_tens = False
    for word in split_run(written):
        digit = _DIGIT_WORDS.get(word)
        # In "twenty five", the five replaces the zero of twenty.
        figures = figures[:-1] + digit if digit and after_tens else figures + (digit or str(_TENS[word]))
        after_tens = digit is None
    return figures.rstrip("0")


def split_run(run: str) -> list[str]:
    return [word for word in re.split(r"[\s-]+", run.lower()) if word != "and"]


def read_word_values(words: list[str]) -> set[str]:
    """All values of one run of words: "two thousand eight" is 2008; "one forty" is 1, 40 or, as a blood pressure, 140."""
    value = _read_cardinal(words)
    readings = set() if value is None else {str(value)}
    if len(words) >= 2 and words[0] in UNITS and 0 < UNITS[words[0]] < 100:
        rest = _read_cardinal(words[1:])
        if rest is not None and 10 <= rest < 100:
            readings.add(str(UNITS[words[0]] * 100 + rest))
    return readings


def _read_cardinal(words: list[str]) -> int | None:
    """The value of well-formed number words, else None: "twenty five" is 25, "five twenty" is not a cardinal."""
    total, part, last = 0, 0, 1000
    for place, word in enumerate(words):
        if word in _SCALES:
            if place == 0:  # "a hundred"
                part = 1
            if part == 0 or (word == "hundred" and part >= 100):
                return None
            part *= _SCALES[word]
            if word == "thousand":
                total, part = total + part, 0
            last = _SCALES[word]
            continue
        value = _WORDS[word]
        size = 10 if value >= 20 and word in _TENS else 1
        if (size == 10 and last < 100) or (size == 1 and last <= 1) or (size == 1 and value >= 10 and last == 10):
            return None
        part, last = part + value, size
    return total + part
