"""Finds known days in a text in every notation: digits, the month's name, or words.

Finds neither unknown days nor bare years.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from typing import NamedTuple

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.phi.spans.folded_text import FoldedText, Word
from fine_tune_assets.quantities.dates import MONTHS
from fine_tune_assets.quantities.spelled_numbers import TENS, UNITS, read_cardinal, read_ordinal, spell_ordinal

_MONTH_NUMBERS = {name: number for number, name in enumerate(MONTHS, start=1)}
_MONTH_NUMBERS |= {name[:3]: number for name, number in _MONTH_NUMBERS.items()} | {"sept": 9}

_GAP = r"[\s,-]+"
_DAY = (
    rf"(?:(?:twenty|thirty)[\s-]+)?(?:{'|'.join([*map(spell_ordinal, (*range(1, 21), 30)), *UNITS[1:]])})|twenty|thirty"
    r"|(?:0?[1-9]|[12]\d|3[01])(?:\s?(?:st|nd|rd|th)\b)?(?!\d)"
)
_DIGIT = "|".join(UNITS[1:10])
_BELOW_100 = rf"(?:(?:{'|'.join(TENS)})(?:[\s-]+(?:{_DIGIT}))?|{'|'.join(UNITS[10:])}|(?:oh?[\s-]+)?(?:{_DIGIT}))"
_YEAR = (
    rf"(?:eighteen|nineteen|twenty)[\s-]+(?:hundred(?:[\s-]+and)?[\s-]+)?{_BELOW_100}|nineteen[\s-]+hundred"
    rf"|two[\s-]+thousand(?:[\s-]+(?:and[\s-]+)?{_BELOW_100})?|(?:18|19|20)\d\d|'\d\d"
)
_AFTER_MONTH = compile_bounded(
    rf"[\s,/-]*(?:the\s+)?(?P<day>{_DAY})\b(?:[\s,/-]*(?:of\s+|in\s+)?(?P<year>{_YEAR}|\d\d)\b(?!\s?(?:mg|ml|%|:|/)))?",
    re.IGNORECASE,
)
_BEFORE_MONTH = re.compile(rf"(?:\bthe\s+)?(?<![\w.])(?P<day>{_DAY})(?:\s+day)?[\s/,.-]*(?:of\s+)?$", re.IGNORECASE)
_YEAR_AFTER = compile_bounded(rf"[\s,/-]*(?:of\s+)?(?P<year>{_YEAR}|\d\d)\b(?!\s?(?:mg|ml|%|:|/))", re.IGNORECASE)
_LONG_YEAR_AFTER = compile_bounded(rf"{_GAP}(?:of\s+)?(?P<year>{_YEAR})\b", re.IGNORECASE)
_MAX_LOOKBEHIND = 40
"""Longest distance from a day in words to its month: "the twenty-seventh day of "."""

_TIME = r"(?:T[\d:.]+(?:Z|[+-]\d\d:?\d\d)?)?"
_NUMERIC_DATE = re.compile(rf"(\d{{1,4}})(\s?[-/.]\s?|\s)(\d{{1,2}})\2(\d{{2,4}})(?!\d){_TIME}")
_COMPACT_DATE = re.compile(r"\d{6}(?:\d\d(?:\d{4}(?:\d\d)?)?)?(?:\.\d+)?(?:[+-]\d{4})?(?![\d.]\d|\d)")
_MONTH_AND_YEAR = re.compile(
    r"(?:(?P<month>\d{1,2})[/-](?P<year>\d{4})|(?P<year_first>\d{4})-(?P<month_last>\d{2}))(?![\d/-])"
)
_BIRTH_WORDS = frozenset(("born", "birthday", "birth", "dob", "bday", "b"))
_AFTER_BIRTH = re.compile(
    r"(?:day)?\W{1,4}(?:is\s|was\s|on\s|the\s){0,2}(?P<value>(\d{1,2})[/.-](\d{1,2}))(?![\d/-]|\.\d)"
)


class DateMention(NamedTuple):
    """A date in the text with one possible reading; a year below 100 is its last two digits."""

    start: int
    end: int
    year: int | None
    month: int
    day: int | None


class Day(NamedTuple):
    """A known day; `day` is None if only the month is stated."""

    year: int
    month: int
    day: int | None


def read_days(value: str) -> set[Day]:
    """Every day that the value may state: 3/4/1957 is March 4 or April 3. Ignores the time of HL7 timestamps."""
    days = {
        Day(year, m.month, m.day)
        for m in _find_mentions(FoldedText(value.strip()))
        if m.year is not None
        for year in ((m.year,) if m.year > 99 else (1900 + m.year, 2000 + m.year))
    }
    longest = [day for day in days if day.day is not None]
    return {day for day in longest or days if _is_valid_date(day)}


def find_days(text: FoldedText, days: Iterable[Day]) -> Iterator[tuple[int, int]]:
    """Offsets of every mention of one of the days: also a month and day without a year, and the month with its year."""
    known = tuple(days)
    months = {day.month for day in known}
    if known:
        for mention in _find_mentions(text, months):
            if any(_is_same_day(mention, day) for day in known):
                yield mention.start, mention.end


def _is_same_day(mention: DateMention, day: Day) -> bool:
    is_year = mention.year is None or mention.year in (day.year, day.year % 100)
    if mention.day is None:
        return is_year and mention.month == day.month
    return is_year and (mention.month, mention.day) == (day.month, day.day)


def _find_mentions(text: FoldedText, months: set[int] | None = None) -> Iterator[DateMention]:
    yield from _find_numeric_dates(text)
    yield from _find_birthdays(text)
    for key in text.positions.keys() & _MONTH_NUMBERS.keys():
        month = _MONTH_NUMBERS[key]
        if months is None or month in months:
            for place in text.positions[key]:
                yield from _read_around_month(text.folded, text.word(place), month)


def _read_around_month(folded: str, word: Word, month: int) -> Iterator[DateMention]:
    start, end = word.start, word.end + (folded[word.end : word.end + 1] == ".")
    if after := _AFTER_MONTH.match(folded, end):
        day, year = _read_number(after["day"]), after["year"]
        yield DateMention(start, after.end(), _read_year(year) if year else None, month, day)
        # Two digits after a day may be anything: March 14, 20 tablets.
        if year and len(year) == 2:
            yield DateMention(start, after.end("day"), None, month, day)
    if before := _BEFORE_MONTH.search(folded, max(0, start - _MAX_LOOKBEHIND), start):
        day, dated = _read_number(before["day"]), _YEAR_AFTER.match(folded, end)
        if dated:
            yield DateMention(before.start(), dated.end(), _read_year(dated["year"]), month, day)
        if not dated or len(dated["year"]) == 2:
            yield DateMention(before.start(), word.end, None, month, day)
    if dated := _LONG_YEAR_AFTER.match(folded, end):
        yield DateMention(start, dated.end(), _read_year(dated["year"]), month, None)


def _find_numeric_dates(text: FoldedText) -> Iterator[DateMention]:
    for match in _match_at_numbers(_NUMERIC_DATE, text, "."):
        first, second, third = int(match[1]), int(match[3]), int(match[4])
        if len(match[1]) in (2, 4):
            yield DateMention(*match.span(), first, second, third)
        if len(match[4]) in (2, 4) and len(match[1]) < 3:
            yield DateMention(*match.span(), third, first, second)
            yield DateMention(*match.span(), third, second, first)
    for match in _match_at_numbers(_COMPACT_DATE, text, "."):
        yield from (
            DateMention(*match.span(), *reading) for reading in _read_compact_date(re.split(r"[.+-]", match[0])[0])
        )
    for match in _match_at_numbers(_MONTH_AND_YEAR, text, "./-"):
        yield DateMention(
            *match.span(), int(match["year"] or match["year_first"]), int(match["month"] or match["month_last"]), None
        )


def _find_birthdays(text: FoldedText) -> Iterator[DateMention]:
    """Find 3/14 after "born"; elsewhere it may be anything."""
    for key in text.positions.keys() & _BIRTH_WORDS:
        for place in text.positions[key]:
            if match := _AFTER_BIRTH.match(text.folded, text.word(place).end):
                yield DateMention(*match.span("value"), None, int(match[2]), int(match[3]))
                yield DateMention(*match.span("value"), None, int(match[3]), int(match[2]))


def _match_at_numbers(pattern: re.Pattern[str], text: FoldedText, not_before: str) -> Iterator[re.Match[str]]:
    for place in text.number_positions:
        start = text.word(place).start
        before = text.folded[start - 1 : start]
        if (match := pattern.match(text.folded, start)) and (not before or before not in not_before):
            yield match


def _read_compact_date(digits: str) -> Iterator[tuple[int, int, int]]:
    if len(digits) == 6:
        a, b, c = int(digits[:2]), int(digits[2:4]), int(digits[4:])
        yield from ((a, b, c), (c, a, b), (c, b, a))
        return
    yield int(digits[:4]), int(digits[4:6]), int(digits[6:8])
    if len(digits) == 8:
        a, b, year = int(digits[:2]), int(digits[2:4]), int(digits[4:])
        yield from ((year, a, b), (year, b, a))


def _read_number(words: str) -> int:
    figures = re.match(r"'?(\d+)", words)
    if figures:
        return int(figures[1])
    return sum(read_ordinal(word) or read_cardinal(word) or 0 for word in re.split(r"[\s-]+", words.lower()))


def _read_year(words: str) -> int:
    if re.match(r"'?\d", words):
        return _read_number(words)
    parts = [word for word in re.split(r"[\s-]+", words.lower()) if word not in ("and", "hundred")]
    if parts[:2] == ["two", "thousand"]:
        return 2000 + _read_number(" ".join(parts[2:]))
    return 100 * _read_number(parts[0]) + _read_number(" ".join(parts[1:]))


def _is_valid_date(day: Day) -> bool:
    try:
        date(day.year, day.month, day.day or 1)
    except ValueError:
        return False
    return day.year >= 1800
