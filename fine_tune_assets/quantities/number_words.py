"""Reads English number words, as people say them in a dialogue: every value that a run of words can mean.

Owns the words. Knows neither digits nor what a number counts.
"""

import re
from collections.abc import Mapping
from typing import Final


def _values(words: str, values: range) -> dict[str, int]:
    return dict(zip(words.split(), values, strict=True))


UNITS: Final = _values(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen",
    range(20),
)
_TENS = _values("twenty thirty forty fifty sixty seventy eighty ninety", range(20, 100, 10))
_SCALES = {"hundred": 100, "thousand": 1000}
ORDINALS: Final = _values(
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
_MANY_TENS = re.compile(rf"\b({'|'.join(word[:-1] + 'ies' for word in _TENS)})\b", re.IGNORECASE)
_WHOLE = rf"(?:(?:{_ANY}|o|oh)(?:[\s-]+(?:and\s+)?(?:{_ANY}|o|oh))*|\d+)"
_FIGURE = rf"(?:{'|'.join([*_DIGIT_WORDS, *_TENS])})"
_DECIMALS = rf"(?:{_FIGURE}(?:[\s-]+{_FIGURE})*\b|\d+)"
# A transcript writes "seven . five" for a point that was heard.
_POINT = re.compile(rf"(?:\bpoint\s+|(?<=\s)\.\s(?=[a-z\d])|(?<=\s)\.(?=\d))({_DECIMALS})(?!\w)", re.IGNORECASE)
_AND_A_HALF = re.compile(r"\s+and\s+a\s+half\b", re.IGNORECASE)
_BEFORE_POINT = re.compile(rf"\b({_WHOLE})\s*$", re.IGNORECASE)
_BEFORE_HALF = re.compile(rf"\b({_WHOLE}|an?)(?:\s+(?!and\b)[a-z]+)?$", re.IGNORECASE)
_BEFORE_CHARACTERS = 50
"""Looked at before a point or a half: the longest "one hundred and twenty three" has 29."""
_ONE_OF = re.compile(
    r"\b(?:an?|another|per|each|every|last|past|next)\s+(?:year|month|week|day|hour|minute)s?\b", re.IGNORECASE
)
_NAMED: Final = {"once": "1", "twice": "2", "couple": "2", "dozen": "12", "half": "0.5"}
_LONGEST_RUN = 6


def values_said(text: str) -> set[str]:
    """Every value that words of the text can mean; "two point five", "a year and a half", "a couple" and "fifties" too.

    >>> sorted(values_said("one o two point six for a week"))
    ['1', '102.6', '2', '2.6', '6']
    """
    values = set[str]()
    for run in WORD_RUN.finditer(text):
        words = split_run(run.group())
        for start in range(len(words)):
            for end in range(start + 1, min(len(words), start + _LONGEST_RUN) + 1):
                values |= readings(words[start:end])
    for match in _POINT.finditer(text):
        decimals = _decimals(match[1])
        values |= {f"{whole}.{decimals}" if decimals else whole for whole in _wholes_before(text, match, _BEFORE_POINT)}
    for match in _AND_A_HALF.finditer(text):
        values |= {f"{whole}.5" for whole in _wholes_before(text, match, _BEFORE_HALF)}
    values |= {str(_TENS[match[1].lower()[:-3] + "y"]) for match in _MANY_TENS.finditer(text)}
    values |= {value for word, value in _NAMED.items() if re.search(rf"\b{word}\b", text, re.IGNORECASE)}
    return values | ({"1"} if _ONE_OF.search(text) else set())


def _wholes_before(text: str, match: re.Match[str], pattern: re.Pattern[str]) -> set[str]:
    """What stands before a point or a half; a nought if nothing does."""
    before = pattern.search(text[max(0, match.start() - _BEFORE_CHARACTERS) : match.start()])
    if before is None:
        return {"0"}
    return {"1"} if before[1].lower() in ("a", "an") else _wholes(before[1])


def _wholes(written: str) -> set[str]:
    """Every value of what stands before a point: "one o two" is 102, and the last words may stand alone."""
    if written.isdigit():
        return {written}
    words = split_run(written)
    endings = [words[start:] for start in range(len(words)) if all(word in _WORDS for word in words[start:])]
    values = set[str]().union(*(readings(ending) for ending in endings))
    digits = [_DIGIT_WORDS.get(word) for word in words]
    return values | ({"".join(filter(None, digits))} if None not in digits else set())


def _decimals(written: str) -> str:
    """The figures behind a point, without noughts at their end: "one twenty five" and "one two five" are 125."""
    if written.isdigit():
        return written.rstrip("0")
    figures = ""
    after_tens = False
    for word in split_run(written):
        digit = _DIGIT_WORDS.get(word)
        # The nought of twenty gives way to the five of "twenty five".
        figures = figures[:-1] + digit if digit and after_tens else figures + (digit or str(_TENS[word]))
        after_tens = digit is None
    return figures.rstrip("0")


def split_run(run: str) -> list[str]:
    return [word for word in re.split(r"[\s-]+", run.lower()) if word != "and"]


def readings(words: list[str]) -> set[str]:
    """Values of one run of words: "two thousand eight" is 2008; "one forty" is 1, 40 or, as blood pressure, 140."""
    value = _cardinal(words)
    readings = set() if value is None else {str(value)}
    if len(words) >= 2 and words[0] in UNITS and 0 < UNITS[words[0]] < 100:
        rest = _cardinal(words[1:])
        if rest is not None and 10 <= rest < 100:
            readings.add(str(UNITS[words[0]] * 100 + rest))
    return readings


def _cardinal(words: list[str]) -> int | None:
    """The value of well-formed number words, or None: "twenty five" is 25, "five twenty" is no cardinal."""
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
