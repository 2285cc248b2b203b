"""Finds dates in an output that its input does not contain, whatever their notation.

Covers dates, weekdays and words such as "yesterday", but not "today", which is the day of every visit.
"""

import re
from collections.abc import Iterator

from fine_tune_assets.quantities.dates import MONTHS
from fine_tune_assets.quantities.number_words import ORDINALS

_MONTH_NUMBERS = {name[:size]: number for number, name in enumerate(MONTHS, start=1) for size in (3, len(name))} | {
    "sept": 9
}
_MONTH = "|".join(sorted(_MONTH_NUMBERS, key=len, reverse=True))
_DAY = r"(\d{1,2})(?:st|nd|rd|th)?"
_FIRST_DAYS = list(ORDINALS)
_SPOKEN_DAYS = {name: day for day, name in enumerate(_FIRST_DAYS, start=1)} | {
    **{f"twenty {name}": 20 + day for day, name in enumerate(_FIRST_DAYS[:9], start=1)},
    "thirtieth": 30,
    "thirty first": 31,
}
_DAY_WORDS = "|".join(sorted((name.replace(" ", "[ -]") for name in _SPOKEN_DAYS), key=len, reverse=True))
_ISO = re.compile(r"\b(\d{4})-(\d{1,2})-(\d{1,2})\b")
_SLASHED = re.compile(r"(?<![\d/.])(\d{1,2})([/.])(\d{1,2})\2(\d{4}|\d{2})(?![\d/])")
_MONTH_FIRST = re.compile(rf"\b({_MONTH})\.?\s+{_DAY}(?!\d)(?:,?\s+(\d{{4}}))?\b", re.IGNORECASE)
_MONTH_SPOKEN_DAY = re.compile(rf"\b({_MONTH})\.?,?\s+(?:the\s+)?({_DAY_WORDS})\b", re.IGNORECASE)
_DAY_FIRST = re.compile(rf"\b{_DAY}\s+(?:of\s+)?({_MONTH})\b\.?(?:,?\s+(\d{{4}}))?", re.IGNORECASE)
_MONTH_YEAR = re.compile(rf"\b({_MONTH})\.?,?\s+(?:of\s+)?(\d{{4}})\b", re.IGNORECASE)
# 12/2008, and 5/92 or 07/06 if it cannot be a fraction.
_MONTH_SLASH_YEAR = re.compile(
    r"(?<![\d/.-])(0?[1-9]|1[0-2])/(?!52\b)(\d{4}|[4-9]\d|0\d)(?![\d/%-])|(?<![\d/.-])(0[1-9])/(\d{2})(?![\d/%-])"
)
_MONTH_ALONE = re.compile(
    rf"\b(?:in|since|until|till|of|on|by|last|this|early|late|mid)[\s-]+({'|'.join(MONTHS)})\b", re.IGNORECASE
)
_RELATIVE = re.compile(
    r"\b(?:yesterday|tomorrow|tonight|(?:mon|tues|wednes|thurs|fri|satur|sun)day|(?:last|next)\s+(?:week|month|year))\b",
    re.IGNORECASE,
)
Day = tuple[int | None, int, int | None]
"""Year, month and day of the month; None for what is not stated."""


def find_unsupported_dates(output: str, input_text: str) -> list[str]:
    """Dates in `output`, as written there, that match no date in `input_text`; without repeats.

    >>> find_unsupported_dates("Seen March 9, 2024.", "on 3/4/2024")
    ['March 9, 2024']
    """
    input_days = [day for readings, _ in read_dates(input_text) for day in readings]
    input_relative_days = read_relative_days(input_text)
    found: dict[str, None] = {}
    # Months mentioned without a day support a month with its year, but not a day.
    months: list[Day] = [(None, _MONTH_NUMBERS[m[1].lower()], None) for m in _MONTH_ALONE.finditer(input_text)]
    for readings, written in read_dates(output):
        if not any(
            is_same_date(day, other)
            for day in readings
            for other in input_days + _select_months(readings, input_days, months)
        ):
            found.setdefault(written)
    for match in _RELATIVE.finditer(output):
        if " ".join(match.group().lower().split()) not in input_relative_days:
            found.setdefault(match.group())
    return list(found)


def _select_months(readings: list[Day], input_days: list[Day], months: list[Day]) -> list[Day]:
    """Months without day and year that may support a date: it has no day, and the input states no other month of its year."""
    years = {day[0] for day in input_days}
    return months if all(day[2] is None and day[0] not in years for day in readings) else []


def read_dates(text: str) -> Iterator[tuple[list[Day], str]]:
    """Each date with its possible readings: 3/4/2024 is in March or in April."""
    for m in _ISO.finditer(text):
        yield _keep_valid((int(m[1]), int(m[2]), int(m[3]))), m.group()
    for m in _SLASHED.finditer(text):
        year = int(m[4]) if len(m[4]) == 4 else 2000 + int(m[4])
        yield _keep_valid((year, int(m[1]), int(m[3])), (year, int(m[3]), int(m[1]))), m.group()
    for m in _MONTH_FIRST.finditer(text):
        yield _keep_valid((_read_year(m[3]), _MONTH_NUMBERS[m[1].lower()], int(m[2]))), m.group()
    for m in _MONTH_SPOKEN_DAY.finditer(text):
        yield _keep_valid((None, _MONTH_NUMBERS[m[1].lower()], _SPOKEN_DAYS[m[2].lower().replace("-", " ")])), m.group()
    for m in _DAY_FIRST.finditer(text):
        yield _keep_valid((_read_year(m[3]), _MONTH_NUMBERS[m[2].lower()], int(m[1]))), m.group()
    for m in _MONTH_YEAR.finditer(text):
        yield [(int(m[2]), _MONTH_NUMBERS[m[1].lower()], None)], m.group()
    for m in _MONTH_SLASH_YEAR.finditer(text):
        written = m[2] or m[4]
        yield [(int(written) + (0 if len(written) == 4 else 2000), int(m[1] or m[3]), None)], m.group()


def read_relative_days(text: str) -> set[str]:
    """Words such as yesterday and Monday, in lower case."""
    return {" ".join(match.group().lower().split()) for match in _RELATIVE.finditer(text)}


def blank_dates(text: str) -> str:
    """The text with each date blanked out, because its numbers are checked as one day, not separately."""
    for pattern in (_ISO, _SLASHED, _MONTH_FIRST, _DAY_FIRST, _MONTH_YEAR, _MONTH_SLASH_YEAR):
        text = pattern.sub(lambda match: " " * len(match.group()), text)
    return text


def _read_year(written: str | None) -> int | None:
    return int(written) if written else None


def _keep_valid(*days: Day) -> list[Day]:
    return [day for day in days if 1 <= day[1] <= 12 and 1 <= (day[2] or 1) <= 31]


def is_same_date(day: Day, other: Day) -> bool:
    """Whether both can be the same day, by the parts that both state. Two-digit years match any century."""
    return all(
        a is None or b is None or a == b or (place == 0 and a % 100 == b % 100)
        for place, (a, b) in enumerate(zip(day, other, strict=True))
    )
