"""Finds numbers in an output that its input does not hold: the mistakes in a clinical text that hurt most.

Owns reading numbers from digits and from English number words, as people say them in a dialogue. Does not know units:
40 mg is supported by any 40. A finding is a hint for a reviewer, not a proof.
"""

import re
from collections.abc import Iterator


def _values(words: str, values: range) -> dict[str, int]:
    return dict(zip(words.split(), values, strict=True))


_UNITS = _values(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen",
    range(20),
)
_TENS = _values("twenty thirty forty fifty sixty seventy eighty ninety", range(20, 100, 10))
_SCALES = {"hundred": 100, "thousand": 1000}
_ORDINALS = _values(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth",
    range(1, 21),
)
_WORDS = {**_UNITS, **_TENS, **_SCALES, **_ORDINALS}
_UNIT_OF_MEASURE = r"mg|mcg|g|kg|ml|cc|l|cm|mm|units?|percent|%|years?|months?|weeks?|days?|hours?|minutes?|times"

_TAG = re.compile(r"\[[A-Z][A-Z0-9_]*\]")
_LIST_NUMBER = re.compile(r"^\s*\d+[.)]\s", re.MULTILINE)
_DIGITS = re.compile(rf"(\d+(?:,\d{{3}})+(?:\.\d+)?|\d+(?:\.\d+)?)(\s?(?:{_UNIT_OF_MEASURE})(?![a-z]))?", re.IGNORECASE)
_WORD_RUN = re.compile(rf"\b(?:{'|'.join(_WORDS)})(?:(?:-|\s+|\s+and\s+)(?:{'|'.join(_WORDS)}))*\b", re.IGNORECASE)


def unsupported_numbers(output: str, input: str) -> list[str]:
    """Numbers of `output`, as they stand there with their unit, whose value `input` does not hold; each once.

    >>> unsupported_numbers("Increase to 80 mg at age 76.", "he is seventy six and takes 40 milligrams")
    ['80 mg']
    """
    held = numbers_in(input)
    found: dict[str, None] = {}
    for value, written in _digits_in(_plain(output)):
        if value not in held:
            found.setdefault(written)
    for run in _WORD_RUN.finditer(_plain(output)):
        words = _split(run.group())
        # "one" and "first" are seldom numbers in prose: a flag on each would teach reviewers to skip flags.
        if words[-1] not in _ORDINALS and words != ["one"] and not _readings(words) & held:
            found.setdefault(" ".join(run.group().split()))
    return list(found)


def numbers_in(text: str) -> set[str]:
    """Every value that the text can be read to hold: digits, and number words in each way in which they are said."""
    plain = _plain(text)
    values = {value for value, _ in _digits_in(plain)}
    for run in _WORD_RUN.finditer(plain):
        words = _split(run.group())
        for start in range(len(words)):
            for end in range(start + 1, min(len(words), start + 6) + 1):
                values |= _readings(words[start:end])
    return values


def located_numbers(text: str) -> Iterator[tuple[set[str], int, int]]:
    """Every number with its place: the values that it can be read as, its start and its end, without a unit."""
    for match in _DIGITS.finditer(text):
        yield {_normal(match.group(1))}, match.start(1), match.end(1)
    for run in _WORD_RUN.finditer(text):
        words = _split(run.group())
        # Every reading that ends where the run ends: a unit behind it belongs to those.
        values = set[str]().union(*(_readings(words[start:]) for start in range(max(0, len(words) - 6), len(words))))
        yield values, run.start(), run.end()


def _plain(text: str) -> str:
    return _LIST_NUMBER.sub("\n", _TAG.sub(" ", text))


def _digits_in(text: str) -> Iterator[tuple[str, str]]:
    for match in _DIGITS.finditer(text):
        yield _normal(match.group(1)), match.group().strip()


def _normal(digits: str) -> str:
    whole, _, decimals = digits.replace(",", "").partition(".")
    decimals = decimals.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{decimals}" if decimals else "")


def _split(run: str) -> list[str]:
    return [word for word in re.split(r"[\s-]+", run.lower()) if word != "and"]


def _readings(words: list[str]) -> set[str]:
    """Values of one run of words: "two thousand eight" is 2008; "one forty" is 1, 40 or, as blood pressure, 140."""
    value = _cardinal(words)
    readings = set() if value is None else {str(value)}
    if len(words) >= 2 and words[0] in _UNITS and 0 < _UNITS[words[0]] < 100:
        rest = _cardinal(words[1:])
        if rest is not None and 10 <= rest < 100:
            readings.add(str(_UNITS[words[0]] * 100 + rest))
    return readings


def _cardinal(words: list[str]) -> int | None:
    """The value of well-formed number words, or None: "twenty five" is 25, "five twenty" is no cardinal."""
    total, part, last = 0, 0, 1000
    for word in words:
        if word in _SCALES:
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
