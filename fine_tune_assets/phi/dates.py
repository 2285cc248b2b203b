"""Dates as they stand in a report, read in every usual form, and reduced to their years or moved by a number of days.

Owns the forms. What can't be read as a date is never passed on: it becomes a neutral word. Does not know patients or keys.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from fine_tune_assets.core.word_lists import read_lists
from fine_tune_assets.phi.number_words import (
    ORDINALS,
    YEAR_IN_WORDS,
    ordinal,
    ordinal_ending,
    read_ordinal,
    read_year,
    year_words,
)
from fine_tune_assets.phi.spans import substitute

THAT_DAY = "that day"
THAT_MONTH = "that month"
OLDEST_PLAIN_AGE = 89
"""Safe Harbor, 45 CFR 164.514(b)(2)(i)(C): ages up to 89 are no identifiers."""
_FUTURE_YEARS = 2
"""A year of two digits is at most so far ahead: an appointment; beyond that it is of the last century."""
MONTHS = "january february march april may june july august september october november december".split()  # noqa: SIM905
WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday".split()  # noqa: SIM905

_MON = (
    r"(?P<mon>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept(?:ember)?|sep|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)(?![^\W\d_])\.?"
)
_D_BEFORE_MONTH = r"(?P<d>\d{1,2})(?!\d|:\d)(?P<ord>st|nd|rd|th)?"
_D = r"(?P<d>\d{1,2})(?!\d|:\d)(?P<ord>st|nd|rd|th)?(?![^\W\d_])"
_Y4 = r"(?P<y4>(?:1[89]|20|21)\d\d)(?!\d)"
_Y2 = r"(?P<y2>\d\d)(?![\d:])(?!\s*[ap]\.?m\b)"
_SHORT_YEAR = r"['’]?" + _Y2
_YW = rf"(?P<yw>{YEAR_IN_WORDS})\b"
_DW = rf"(?P<dw>{ORDINALS})\b"
_OF = r"(?:,?\s*(?:of\s+)?)"
_FORMS = [
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"(?<!\d){_Y4}(?P<sep>[-/.\s])(?P<m>\d{{1,2}})(?P=sep)(?P<d>\d{{1,2}})(?!\d)",
        r"(?<!\d)(?P<y4>(?:19|20)\d\d)(?P<m>0\d|1[0-2])(?P<d>[0-2]\d|3[01])(?:\d{4}(?:\d\d)?)?(?!\d)",
        rf"(?<!\d)(?P<a>\d{{1,2}})\s?(?P<sep>[-/.\s])\s?(?P<b>\d{{1,2}})\s?(?P=sep)\s?(?:{_Y4}|['’]?(?P<y2>\d\d)(?!\d))",
        rf"(?<![\d:/]){_D_BEFORE_MONTH}(?:\s+(?:day\s+)?(?:of\s+)?|[-/.\s])?{_MON}(?:{_OF}{_YW}|(?:{_OF}|[-/.]){_Y4}|,?(?:\s+|[-/.]){_SHORT_YEAR})?",
        rf"\b{_MON}[-/]{_D}[-/](?:{_Y4}|{_Y2})",
        # Each group once in a form: of a year, one of three ways to write it.
        rf"\b{_MON}\s*(?:the\s+)?{_D}(?:{_OF}{_Y4}|{_OF}{_YW}|,?\s*(?:['’]|(?<=,)|(?<=,\s)){_Y2})?",
        rf"\b{_MON}\s+(?:the\s+)?{_DW}(?:{_OF}(?:{_YW}|{_Y4}))?",
        rf"\b{_DW}\s+(?:day\s+)?(?:of\s+)?{_MON}(?:{_OF}(?:{_YW}|{_Y4}))?",
        rf"\b{_MON}(?:(?:{_OF}|[-/]){_Y4}|{_OF}{_YW}|(?:[-/\s]['’]|[-/]){_Y2})",
        rf"(?<![\d/]){_Y4}[-/](?P<m>0?[1-9]|1[0-2])(?![\d/-])",
        rf"(?<![\d/])(?P<m>0?[1-9]|1[0-2])\s?[-/]\s?{_Y4}",
        r"(?<![\d/.-])(?P<a>\d{1,2})(?P<sep>[/-])(?P<b>\d{1,2})(?![\d/:])",
        rf"\b{_MON}",
        rf"(?<!\d){_Y4}",
        rf"['’]{_Y2}",
        rf"\b{_YW}",
        rf"\b(?P<wd>{'|'.join(WEEKDAYS)}|mon|tues?|wed|thurs?|thu|fri|sat|sun)\b",
    )
]
_TIME = re.compile(
    r"T?(?<!\d)\d{1,2}[:.]\d\d(?:[:.]\d\d(?:\.\d+)?)?\s*(?:[ap]\.?m\b\.?)?\s*(?:Z|[+-]\d\d:?\d\d|UTC|GMT|[ECMP][SD]?T)?\b"
    r"|\b\d{1,2}\s*[ap]\.?m\b\.?|\b\d{4}\s*(?:h|hrs?|hours)\b",
    re.IGNORECASE,
)
# What may stand in a date beside its numbers and names; anything else in it is not passed on.
_DATE_WORDS = frozenset(read_lists(Path(__file__).parent / "reference" / "date_words.txt")["date_words"])
_WORDS = re.compile(r"[^\W\d_]+|\d")
_DECADE = re.compile(r"s\b")
_SEASON = re.compile(r"\b(?:spring|summer|autumn|fall|winter|christmas|easter|thanksgiving|new)\b", re.IGNORECASE)
_COMMON_YEAR, _LEAP_YEAR = 2001, 2000
_ALSO_WHOLE = {"may", "june", "july"}

_WRITERS: dict[str, Callable[[date], str]] = {
    "y4": lambda new: str(new.year),
    "y2": lambda new: f"{new.year % 100:02d}",
    "yw": lambda new: year_words(new.year),
    "dw": lambda new: ordinal(new.day),
    "ord": lambda new: ordinal_ending(new.day),
}
_STARTS_SENTENCE = re.compile(r"(?:^|[\r\n.!?:•*-])\s*$")


@dataclass(frozen=True)
class FoundDate:
    """One date in a text, with what it states; one with a `weekday` states nothing else."""

    match: re.Match[str]
    year: int | None
    month: int | None
    day: int | None
    weekday: int | None
    is_day_first: bool


@dataclass(frozen=True)
class DateReader:
    """How ambiguous dates are read: `year_now` for years of two digits, `is_day_first` for 03/04/2021.

    A number over 12 decides by itself, and 03.04.2021, with points, is always read as a day first.
    """

    year_now: int
    is_day_first: bool

    def read(self, text: str) -> list[FoundDate]:
        """The dates in order, none overlapping."""
        found: list[FoundDate] = []
        for form in _FORMS:
            for match in form.finditer(text):
                is_free = not any(match.start() < f.match.end() and f.match.start() < match.end() for f in found)
                reading = self._reading(match) if is_free else None
                if reading:
                    found.append(reading)
        return sorted(found, key=lambda f: f.match.start())

    def is_all_date(self, text: str, dates: list[FoundDate]) -> bool:
        """Whether nothing else is in the text than dates, times and the words that belong to them."""
        rest = substitute(text, [(f.match.span(), " ") for f in dates])
        rest = _TIME.sub(" ", rest)
        return all(word.lower() in _DATE_WORDS for word in _WORDS.findall(rest))

    def _reading(self, match: re.Match[str]) -> FoundDate | None:
        groups = {k: v for k, v in match.groupdict().items() if v is not None}
        if "wd" in groups:
            return FoundDate(match, None, None, None, _name_index(groups["wd"], WEEKDAYS), False)
        year, is_day_first = self._year(groups), self._is_day_first(groups)
        month, day = _month_and_day(groups, is_day_first)
        return FoundDate(match, year, month, day, None, is_day_first) if _exists(year, month, day) else None

    def _year(self, groups: dict[str, str]) -> int | None:
        if "yw" in groups:
            return read_year(groups["yw"])
        if "y4" in groups:
            return int(groups["y4"])
        if "y2" in groups:
            year = self.year_now // 100 * 100 + int(groups["y2"])
            return year - 100 if year > self.year_now + _FUTURE_YEARS else year
        return None

    def _is_day_first(self, groups: dict[str, str]) -> bool:
        if "a" not in groups:
            return False
        a, b = int(groups["a"]), int(groups["b"])
        return a > 12 or (b <= 12 and (self.is_day_first or groups["sep"] == "."))


def _month_and_day(groups: dict[str, str], is_day_first: bool) -> tuple[int | None, int | None]:
    if "a" in groups:
        a, b = int(groups["a"]), int(groups["b"])
        return (b, a) if is_day_first else (a, b)
    month = _name_index(groups["mon"], MONTHS) + 1 if "mon" in groups else None
    month = int(groups["m"]) if "m" in groups else month
    day = int(groups["d"]) if "d" in groups else None
    return month, read_ordinal(groups["dw"]) if "dw" in groups else day


def _name_index(name: str, names: list[str]) -> int:
    return next(i for i, whole in enumerate(names) if whole.startswith(name.lower()[:3]))


def _exists(year: int | None, month: int | None, day: int | None) -> bool:
    if year is None and month is None:
        return False
    try:
        date(year or _LEAP_YEAR, month or 1, day or 1)
    except ValueError:
        return False
    return True


def years_only(text: str, before: str, reader: DateReader) -> str:
    """The years it states, or a neutral word where it states none; `before` is the text in front of it.

    A year that would give away an age over 89 becomes "1936 or earlier", say: (b)(2)(i)(C) counts it among the ages.
    """
    dates = reader.read(text)
    is_kept_decade = all(is_decade(text, found) and (found.year or 0) > oldest_year(reader.year_now) for found in dates)
    if is_relative(text, dates, reader) or (dates and is_kept_decade and reader.is_all_date(text, dates)):
        return text
    years = dict.fromkeys(_year_text(text, found, reader.year_now) for found in dates if found.year is not None)
    return " to ".join(years) if years else neutral_word(text, before, dates)


def is_relative(text: str, dates: list[FoundDate], reader: DateReader) -> bool:
    """ "Yesterday", "10:30": no date that anybody could look up."""
    return not dates and reader.is_all_date(text, dates) and not names_a_season(text)


def names_a_season(text: str) -> bool:
    """Or a feast: a part of a date that can't be moved."""
    return _SEASON.search(text) is not None


def oldest_year(year_now: int) -> int:
    """Who was born in this year or before can be over 89."""
    return year_now - OLDEST_PLAIN_AGE - 1


def _year_text(text: str, found: FoundDate, year_now: int) -> str:
    if found.year is not None and found.year <= oldest_year(year_now):
        return f"{oldest_year(year_now)} or earlier"
    return f"{found.year}{'s' if is_decade(text, found) else ''}"


def is_decade(text: str, found: FoundDate) -> bool:
    return found.month is None and found.weekday is None and _DECADE.match(text, found.match.end()) is not None


def neutral_word(text: str, before: str, dates: list[FoundDate]) -> str:
    """What stands for a date without a year. It invents none."""
    is_month = bool(dates) and all(f.month is not None and f.day is None for f in dates)
    word = THAT_MONTH if is_month else THAT_DAY
    if text == text.upper() and sum(c.isalpha() for c in text) > 3:
        return word.upper()
    starts_sentence = text[:1].isupper() and _STARTS_SENTENCE.search(before[-3:]) is not None
    return word.capitalize() if starts_sentence else word


def shifted(text: str, days: int, before: str, reader: DateReader) -> str:
    """Every date in it moved by so many days, in its own form; a neutral word if it can't be read whole.

    A day without a year is moved as in 2001 (February 29 as in 2000), a month as its 15th, a year as its July 1.
    """
    dates = reader.read(text)
    if is_relative(text, dates, reader):
        return text
    if not dates or not reader.is_all_date(text, dates) or names_a_season(text):
        return neutral_word(text, before, dates)
    return substitute(text, [(f.match.span(), _moved(f, days)) for f in dates if not is_decade(text, f)])


def _moved(found: FoundDate, days: int) -> str:
    match = found.match
    if found.weekday is not None:
        return _named(match[0], WEEKDAYS, (found.weekday + days) % 7, match[0].lower() in WEEKDAYS)
    new = _assumed(found) + timedelta(days=days)
    places = {
        name: match.span(name) for name, value in match.groupdict().items() if value is not None and name != "sep"
    }
    pieces = [
        ((start - match.start(), end - match.start()), _written(name, match[name], new, found))
        for name, (start, end) in sorted(places.items(), key=lambda place: place[1])
    ]
    return substitute(match[0], pieces)


def _assumed(found: FoundDate) -> date:
    is_leap_day = (found.month, found.day) == (2, 29)
    year = found.year or (_LEAP_YEAR if is_leap_day else _COMMON_YEAR)
    return date(year, found.month or 7, found.day or (15 if found.month else 1))


def _written(group: str, old: str, new: date, found: FoundDate) -> str:
    if group == "mon":
        # "May" between marks or at a number is short for May: 01-May-2021, 01May2021.
        is_short_form = re.search(r"[\d/-][A-Za-z]|[A-Za-z][\d/-]", found.match[0]) is not None
        is_whole = old.lower() in (MONTHS if not is_short_form else {*MONTHS} - _ALSO_WHOLE)
        return _named(old, MONTHS, new.month - 1, is_whole)
    if group in {"m", "d", "a", "b"}:
        is_day = group == "d" or group == ("a" if found.is_day_first else "b")
        return _padded(new.day if is_day else new.month, found)
    return _cased(old, _WRITERS[group](new))


def _padded(number: int, found: FoundDate) -> str:
    """With a zero in front if the original has one, or could have needed none: 03/14 and 12/14, not 3/14."""
    groups = found.match.groupdict()
    written = [groups[g] for g in ("m", "d", "a", "b") if groups.get(g)]
    has_zeros = any(w.startswith("0") for w in written)
    is_all_digits = not groups.get("mon") and all(len(w) == 2 for w in written)
    return f"{number:02d}" if has_zeros or is_all_digits else str(number)


def _named(old: str, names: list[str], index: int, is_whole: bool) -> str:
    return _cased(old, names[index] if is_whole else names[index][:3])


def _cased(old: str, new: str) -> str:
    if old == old.upper():
        return new.upper()
    return new if old == old.lower() else new[:1].upper() + new[1:]
