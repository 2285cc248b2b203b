"""Finds numbers in an output that its input does not contain, which are the most harmful errors in clinical text.

Skips list numbers and the ends of scales. Ignores units: any 40 in the input supports 40 mg. A result is a hint for a reviewer,
not proof of an error.
"""

import re
from collections.abc import Iterator

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.quantities.number_words import ORDINALS, WORD_RUN, read_spoken_values, read_word_values, split_run

_UNIT_OF_MEASURE = r"mg|mcg|g|kg|ml|cc|l|cm|mm|units?|percent|%|years?|months?|weeks?|days?|hours?|minutes?|times"

_TAG = re.compile(r"\[[A-Z][A-Z0-9_]*\]")
_LIST_NUMBER = compile_bounded(
    r"^\s*\d+[.)]\s|(?<=[.;)])\s+\d{1,2}[.)](?=\s+[A-Z])|(?<=:)\s+1[.)](?=\s+[A-Z].{0,300}?[.;)]\s+2[.)]\s)",
    re.MULTILINE,
)
_NOT_A_QUANTITY = re.compile(
    r"(?<=\d):00\b|\bCOVID[- ]19\b|\bC?O2\b|\boriented\s*x\s*[1-4]\b|\bF2F\b"
    r"|\b[01]\s?(?:-|to)\s?10\b|(?<=\d)/10\b(?!/)"  # the ends of a scale
    r"|(?<=\d)/(?:7|12|52)\b(?!/)",  # British notation for days, months and weeks
    re.IGNORECASE,
)
_DIGITS = re.compile(rf"(\d+(?:,\d{{3}})+(?:\.\d+)?|\d+(?:\.\d+)?)(\s?(?:{_UNIT_OF_MEASURE})(?![a-z]))?", re.IGNORECASE)
_AND_A_HALF = re.compile(r"\b(\d+)[- ]1/2(?!\d)")
_DECADE = re.compile(r"'?s\b")
_DURATION = re.compile(r"[\s-]?(minute|hour|day|week|month|year)s?\b", re.IGNORECASE)
_LONGER_UNITS = {"minute": ("hour", 60), "hour": ("day", 24), "day": ("week", 7), "month": ("year", 12)}
_YEARS = range(1930, 2060)
_YEAR_CONTEXT_LENGTH = 8
_YEAR_CONTEXT = re.compile(r"\b(?:in|since|of|from|until|till|to|by)\s+$", re.IGNORECASE)


def find_unsupported_numbers(output: str, input_text: str) -> list[str]:
    """Numbers in `output`, as written there with their unit, whose value is not in `input_text`; without repeats.

    >>> find_unsupported_numbers("Increase to 80 mg at age 76.", "he is seventy six and takes 40 milligrams")
    ['80 mg']
    """
    input_values = read_numbers(input_text)
    plain = _NOT_A_QUANTITY.sub(" ", _strip_markup(output))
    plain = _AND_A_HALF.sub(lambda match: " " if f"{match[1]}.5" in input_values else match[0], plain)
    found: dict[str, None] = {}
    for match in _DIGITS.finditer(plain):
        if not _is_supported(plain, match, input_values) and not _is_in_other_unit(plain, match, input_text):
            found.setdefault(match.group().strip())
    for run in WORD_RUN.finditer(plain):
        words = split_run(run.group())
        # In prose, "one" and "first" are rarely numbers: flagging each would teach reviewers to ignore flags.
        if words[-1] not in ORDINALS and words != ["one"] and not read_word_values(words) & input_values:
            found.setdefault(" ".join(run.group().split()))
    return list(found)


def read_numbers(text: str) -> set[str]:
    """Every value in the text: digits, and number words in each possible reading."""
    plain = _strip_markup(text)
    halves = {f"{match[1]}.5" for match in _AND_A_HALF.finditer(plain)}
    return {value for value, _ in _read_digits(plain)} | read_spoken_values(plain) | halves


def locate_numbers(text: str) -> Iterator[tuple[set[str], int, int]]:
    """Each number's possible values, start and end, without its unit."""
    for match in _DIGITS.finditer(text):
        yield {_normalize_digits(match.group(1))}, match.start(1), match.end(1)
    for run in WORD_RUN.finditer(text):
        words = split_run(run.group())
        # Every reading that ends at the end of the run, because a unit after the run belongs to those.
        values = set[str]().union(
            *(read_word_values(words[start:]) for start in range(max(0, len(words) - 6), len(words)))
        )
        yield values, run.start(), run.end()


def _is_supported(text: str, match: re.Match[str], input_values: set[str]) -> bool:
    value = _normalize_digits(match[1])
    # A zero without a unit needs no support, because people rarely say zeros.
    if value in input_values or (value == "0" and not match[2]):
        return True
    if not value.isdigit():
        return False
    number = int(value)
    if _DECADE.match(text, match.end(1)) and number % 10 == 0:
        width = 100 if number >= 100 and number % 100 == 0 else 10
        return any(str(other) in input_values for other in range(number, number + width))
    # "in ninety six"
    is_year = number in _YEARS and _YEAR_CONTEXT.search(text[: match.start(1)][-_YEAR_CONTEXT_LENGTH:]) is not None
    return is_year and str(number % 100) in input_values


def _is_in_other_unit(text: str, match: re.Match[str], input_text: str) -> bool:
    """Whether the input states the same duration in another unit: 14 days are two weeks."""
    span, value = _DURATION.match(text, match.end(1)), _normalize_digits(match[1])
    if span is None or not value.isdigit():
        return False
    number, unit, spans = int(value), span[1].lower(), _read_durations(input_text)
    longer, times = _LONGER_UNITS.get(unit, ("", 1))
    if number % times == 0 and (number // times, longer) in spans:
        return True
    return any(
        (number * times, shorter) in spans for shorter, (longer, times) in _LONGER_UNITS.items() if longer == unit
    )


def _read_durations(text: str) -> set[tuple[int, str]]:
    spans = set()
    for values, _, end in locate_numbers(text):
        if span := _DURATION.match(text, end):
            spans |= {(int(value), span[1].lower()) for value in values if value.isdigit()}
    return spans


def _strip_markup(text: str) -> str:
    return _LIST_NUMBER.sub("\n", _TAG.sub(" ", text))


def _read_digits(text: str) -> Iterator[tuple[str, str]]:
    for match in _DIGITS.finditer(text):
        yield _normalize_digits(match.group(1)), match.group().strip()


def _normalize_digits(digits: str) -> str:
    integer, _, decimals = digits.replace(",", "").partition(".")
    decimals = decimals.rstrip("0")
    return (integer.lstrip("0") or "0") + (f".{decimals}" if decimals else "")
