"""Dates and ages of a report: dates reduced to their years or moved by a number of days, ages over 89 as "90 or older".

What can't be read as a date is never passed on: it becomes a neutral word. Does not know patients or keys.
"""

import re
from collections.abc import Callable
from datetime import date, timedelta

from fine_tune_assets.phi.spans.spans import substitute
from fine_tune_assets.quantities.dates import MONTHS, WEEKDAYS, DateReader, FoundDate
from fine_tune_assets.quantities.spelled_numbers import BELOW_100, ordinal, ordinal_ending, read_cardinal, year_words

THAT_DAY = "that day"
THAT_MONTH = "that month"
OLDEST_PLAIN_AGE = 89
"""Safe Harbor, 45 CFR 164.514(b)(2)(i)(C): ages up to 89 are no identifiers."""
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


_AGE = re.compile(
    rf"^\W*(?:aged?\s+)?(?:of\s+)?(?:(?P<digits>\d{{1,3}})|(?P<hundred>(?:one|a)[-\s]hundred\b(?:[-\s]and)?(?:[-\s]{BELOW_100})?)"
    rf"|(?P<words>{BELOW_100})\b)(?P<rest>.*)$",
    re.IGNORECASE | re.DOTALL,
)
_SHORTER_UNIT = re.compile(r"^[-\s]?(?:hours?|days?|d|weeks?|wks?|w|months?|mos?|m/o)\b", re.IGNORECASE)
_YEARS_OLD = r"[-\s]*(?:(?:years?|yrs?|y\.?/?o\.?|y)(?![^\W\d_])\.?)?[-\s]*(?:old(?![^\W\d_])|of[-\s]age)?"
_AGE_WORDS = re.compile(rf"{_YEARS_OLD}[-\s.]*", re.IGNORECASE)
_SEX = re.compile(rf"{_YEARS_OLD}[-\s]*(?P<sex>[MF]|male|female|man|woman)", re.IGNORECASE)
_OLD = re.compile(
    r"^\W*(?:in\s+)?(?:(?:her|his|their|the)\s+)?(?:mid|early|late)?[-\s]*(?:nineties|90'?s|centenarian|nonagenarian)\W*$",
    re.IGNORECASE,
)
UNKNOWN_AGE = "of unstated age"


def is_recognised_age(text: str) -> bool:
    return bool(_OLD.match(text)) or _read(text) is not None


def generalise_age(text: str) -> str:
    """The same text up to 89 years, "90 or older" above; "of unstated age" if it can't be read as an age."""
    if _OLD.match(text):
        return "90 or older"
    read = _read(text)
    if read is None:
        return UNKNOWN_AGE
    years, rest = read
    if years <= OLDEST_PLAIN_AGE or _SHORTER_UNIT.match(rest):
        return text
    sex = _SEX.fullmatch(rest)
    age = "90-or-older" if re.search(r"-old$", rest, re.IGNORECASE) else "90 or older"
    return f"{age} {sex['sex']}" if sex else age


def _read(text: str) -> tuple[int, str] | None:
    match = _AGE.match(text)
    if not match:
        return None
    rest = match["rest"]
    if not (
        _AGE_WORDS.fullmatch(rest)
        or _SEX.fullmatch(rest)
        or re.fullmatch(_SHORTER_UNIT.pattern + r"(?:[-\s]old)?", rest, re.I)
    ):
        return None
    if match["hundred"]:
        return 100, rest
    return (int(match["digits"]) if match["digits"] else read_cardinal(match["words"]) or 0), rest
