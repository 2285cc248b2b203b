"""Finds numbers in an output that its input does not hold: the mistakes in a clinical text that hurt most.

Owns reading numbers from digits, and which digits are none: list numbers, ends of a scale. Does not know units: 40 mg is
supported by any 40. A finding is a hint for a reviewer, not a proof.
"""

import re
from collections.abc import Iterator

from fine_tune_assets.quantities.number_words import ORDINALS, WORD_RUN, readings, split_run, values_said

_UNIT_OF_MEASURE = r"mg|mcg|g|kg|ml|cc|l|cm|mm|units?|percent|%|years?|months?|weeks?|days?|hours?|minutes?|times"

_TAG = re.compile(r"\[[A-Z][A-Z0-9_]*\]")
_LIST_NUMBER = re.compile(
    r"^\s*\d+[.)]\s|(?<=[.;)])\s+\d{1,2}[.)](?=\s+[A-Z])|(?<=:)\s+1[.)](?=\s+[A-Z].*?[.;)]\s+2[.)]\s)", re.MULTILINE
)
_NO_QUANTITY = re.compile(
    r"(?<=\d):00\b|\bCOVID[- ]19\b|\bC?O2\b|\boriented\s*x\s*[1-4]\b|\bF2F\b"
    r"|\b[01]\s?(?:-|to)\s?10\b|(?<=\d)/10\b(?!/)"  # the ends of a scale
    r"|(?<=\d)/(?:7|12|52)\b(?!/)",  # British for days, months and weeks
    re.IGNORECASE,
)
_DIGITS = re.compile(rf"(\d+(?:,\d{{3}})+(?:\.\d+)?|\d+(?:\.\d+)?)(\s?(?:{_UNIT_OF_MEASURE})(?![a-z]))?", re.IGNORECASE)
_AND_A_HALF = re.compile(r"\b(\d+)[- ]1/2(?!\d)")
_DECADE = re.compile(r"'?s\b")
_SPAN = re.compile(r"[\s-]?(minute|hour|day|week|month|year)s?\b", re.IGNORECASE)
_LONGER = {"minute": ("hour", 60), "hour": ("day", 24), "day": ("week", 7), "month": ("year", 12)}
_YEARS = range(1930, 2060)
_YEAR_WORD = 8
_IN_YEAR = re.compile(r"\b(?:in|since|of|from|until|till|to|by)\s+$", re.IGNORECASE)


def unsupported_numbers(output: str, input: str) -> list[str]:
    """Numbers of `output`, as they stand there with their unit, whose value `input` does not hold; each once.

    >>> unsupported_numbers("Increase to 80 mg at age 76.", "he is seventy six and takes 40 milligrams")
    ['80 mg']
    """
    held = numbers_in(input)
    plain = _NO_QUANTITY.sub(" ", _plain(output))
    plain = _AND_A_HALF.sub(lambda match: " " if f"{match[1]}.5" in held else match[0], plain)
    found: dict[str, None] = {}
    for match in _DIGITS.finditer(plain):
        if not _is_held(plain, match, held) and not _is_told_otherwise(plain, match, input):
            found.setdefault(match.group().strip())
    for run in WORD_RUN.finditer(plain):
        words = split_run(run.group())
        # "one" and "first" are seldom numbers in prose: a flag on each would teach reviewers to skip flags.
        if words[-1] not in ORDINALS and words != ["one"] and not readings(words) & held:
            found.setdefault(" ".join(run.group().split()))
    return list(found)


def numbers_in(text: str) -> set[str]:
    """Every value that the text can be read to hold: digits, and number words in each way in which they are said."""
    plain = _plain(text)
    halves = {f"{match[1]}.5" for match in _AND_A_HALF.finditer(plain)}
    return {value for value, _ in _digits_in(plain)} | values_said(plain) | halves


def located_numbers(text: str) -> Iterator[tuple[set[str], int, int]]:
    """Every number with its place: the values that it can be read as, its start and its end, without a unit."""
    for match in _DIGITS.finditer(text):
        yield {_normal(match.group(1))}, match.start(1), match.end(1)
    for run in WORD_RUN.finditer(text):
        words = split_run(run.group())
        # Every reading that ends where the run ends: a unit behind it belongs to those.
        values = set[str]().union(*(readings(words[start:]) for start in range(max(0, len(words) - 6), len(words))))
        yield values, run.start(), run.end()


def _is_held(text: str, match: re.Match[str], held: set[str]) -> bool:
    value = _normal(match[1])
    # Nobody says a nought: there is none of it.
    if value in held or (value == "0" and not match[2]):
        return True
    if not value.isdigit():
        return False
    number = int(value)
    if _DECADE.match(text, match.end(1)) and number % 10 == 0:
        width = 100 if number >= 100 and number % 100 == 0 else 10
        return any(str(other) in held for other in range(number, number + width))
    # "in ninety six"
    is_year = number in _YEARS and _IN_YEAR.search(text[: match.start(1)][-_YEAR_WORD:]) is not None
    return is_year and str(number % 100) in held


def _is_told_otherwise(text: str, match: re.Match[str], input: str) -> bool:
    """Whether the input tells the time in another unit: 14 days are two weeks."""
    span, value = _SPAN.match(text, match.end(1)), _normal(match[1])
    if span is None or not value.isdigit():
        return False
    number, unit, spans = int(value), span[1].lower(), _spans_in(input)
    longer, times = _LONGER.get(unit, ("", 1))
    if number % times == 0 and (number // times, longer) in spans:
        return True
    return any((number * times, shorter) in spans for shorter, (longer, times) in _LONGER.items() if longer == unit)


def _spans_in(text: str) -> set[tuple[int, str]]:
    spans = set()
    for values, _, end in located_numbers(text):
        if span := _SPAN.match(text, end):
            spans |= {(int(value), span[1].lower()) for value in values if value.isdigit()}
    return spans


def _plain(text: str) -> str:
    return _LIST_NUMBER.sub("\n", _TAG.sub(" ", text))


def _digits_in(text: str) -> Iterator[tuple[str, str]]:
    for match in _DIGITS.finditer(text):
        yield _normal(match.group(1)), match.group().strip()


def _normal(digits: str) -> str:
    whole, _, decimals = digits.replace(",", "").partition(".")
    decimals = decimals.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{decimals}" if decimals else "")
