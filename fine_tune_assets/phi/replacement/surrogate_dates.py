"""Replaces dates and ages: dates are reduced to years or shifted by a number of days, ages over 89 become "90 or older".

A value that cannot be parsed becomes a neutral word and is never kept.
"""

import re
from collections.abc import Callable
from datetime import date, timedelta

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.phi.spans.spans import substitute
from fine_tune_assets.quantities.dates import MONTHS, WEEKDAYS, DateMatch, DateReader
from fine_tune_assets.quantities.spelled_numbers import (
    BELOW_100,
    ordinal_suffix,
    read_cardinal,
    spell_ordinal,
    spell_year,
)

THAT_DAY = "that day"
THAT_MONTH = "that month"
MAX_DISCLOSED_AGE = 89
"""Safe Harbor, 45 CFR 164.514(b)(2)(i)(C): ages up to 89 are not identifiers."""
_DECADE = re.compile(r"s\b")
_SEASON = re.compile(r"\b(?:spring|summer|autumn|fall|winter|christmas|easter|thanksgiving|new)\b", re.IGNORECASE)
_COMMON_YEAR, _LEAP_YEAR = 2001, 2000
_UNABBREVIATED_MONTHS = {"may", "june", "july"}
_WRITERS: dict[str, Callable[[date], str]] = {
    "y4": lambda new: str(new.year),
    "y2": lambda new: f"{new.year % 100:02d}",
    "yw": lambda new: spell_year(new.year),
    "dw": lambda new: spell_ordinal(new.day),
    "ord": lambda new: ordinal_suffix(new.day),
}
_STARTS_SENTENCE = compile_bounded(r"(?:^|[\r\n.!?:•*-])\s*$")


def reduce_to_years(text: str, before: str, reader: DateReader) -> str:
    """The years stated in `text`, or a neutral word if there are none; `before` is the preceding text.

    A year that reveals an age over 89 becomes, for example, "1936 or earlier": (b)(2)(i)(C) counts it among the ages.
    """
    dates = reader.read(text)
    is_kept_decade = all(
        is_decade(text, found) and (found.year or 0) > latest_sensitive_birth_year(reader.current_year)
        for found in dates
    )
    if is_relative(text, dates, reader) or (dates and is_kept_decade and reader.is_only_dates(text, dates)):
        return text
    years = dict.fromkeys(_format_year(text, found, reader.current_year) for found in dates if found.year is not None)
    return " to ".join(years) if years else choose_neutral_word(text, before, dates)


def is_relative(text: str, dates: list[DateMatch], reader: DateReader) -> bool:
    """Whether the text is only relative or a time, such as "yesterday" or "10:30", so that it states no date."""
    return not dates and reader.is_only_dates(text, dates) and not has_season(text)


def has_season(text: str) -> bool:
    """Whether the text names a season or holiday, which cannot be shifted."""
    return _SEASON.search(text) is not None


def latest_sensitive_birth_year(year_now: int) -> int:
    """People born in this year or earlier can be over 89."""
    return year_now - MAX_DISCLOSED_AGE - 1


def _format_year(text: str, found: DateMatch, year_now: int) -> str:
    if found.year is not None and found.year <= latest_sensitive_birth_year(year_now):
        return f"{latest_sensitive_birth_year(year_now)} or earlier"
    return f"{found.year}{'s' if is_decade(text, found) else ''}"


def is_decade(text: str, found: DateMatch) -> bool:
    return found.month is None and found.weekday is None and _DECADE.match(text, found.match.end()) is not None


def choose_neutral_word(text: str, before: str, dates: list[DateMatch]) -> str:
    """A neutral word for a date without a year; it invents nothing."""
    is_month = bool(dates) and all(f.month is not None and f.day is None for f in dates)
    word = THAT_MONTH if is_month else THAT_DAY
    if text == text.upper() and sum(c.isalpha() for c in text) > 3:
        return word.upper()
    starts_sentence = text[:1].isupper() and _STARTS_SENTENCE.search(before[-3:]) is not None
    return word.capitalize() if starts_sentence else word


def shift_text_dates(text: str, days: int, before: str, reader: DateReader) -> str:
    """Shift every date in `text` by `days`, keeping its format; a neutral word if any part cannot be parsed.

    A date without a year is shifted as in 2001 (February 29 as in 2000), a month as its 15th, a year as its July 1.
    """
    dates = reader.read(text)
    if is_relative(text, dates, reader):
        return text
    if not dates or not reader.is_only_dates(text, dates) or has_season(text):
        return choose_neutral_word(text, before, dates)
    return substitute(text, [(f.match.span(), _shift_date(f, days)) for f in dates if not is_decade(text, f)])


def _shift_date(found: DateMatch, days: int) -> str:
    match = found.match
    if found.weekday is not None:
        return _format_name(match[0], WEEKDAYS, (found.weekday + days) % 7, match[0].lower() in WEEKDAYS)
    new = _complete_date(found) + timedelta(days=days)
    places = {
        name: match.span(name) for name, value in match.groupdict().items() if value is not None and name != "sep"
    }
    pieces = [
        ((start - match.start(), end - match.start()), _format_part(name, match[name], new, found))
        for name, (start, end) in sorted(places.items(), key=lambda place: place[1])
    ]
    return substitute(match[0], pieces)


def _complete_date(found: DateMatch) -> date:
    is_leap_day = (found.month, found.day) == (2, 29)
    year = found.year or (_LEAP_YEAR if is_leap_day else _COMMON_YEAR)
    return date(year, found.month or 7, found.day or (15 if found.month else 1))


def _format_part(group: str, old: str, new: date, found: DateMatch) -> str:
    if group == "mon":
        # Next to a number or separator, "May" is an abbreviation: 01-May-2021, 01May2021.
        is_short_form = re.search(r"[\d/-][A-Za-z]|[A-Za-z][\d/-]", found.match[0]) is not None
        is_whole = old.lower() in (MONTHS if not is_short_form else {*MONTHS} - _UNABBREVIATED_MONTHS)
        return _format_name(old, MONTHS, new.month - 1, is_whole)
    if group in {"m", "d", "a", "b"}:
        is_day = group == "d" or group == ("a" if found.is_day_first else "b")
        return _pad_number(new.day if is_day else new.month, found)
    return _match_case(old, _WRITERS[group](new))


def _pad_number(number: int, found: DateMatch) -> str:
    """Zero-pad if the original did, or had two digits: 03/14 and 12/14, not 3/14."""
    groups = found.match.groupdict()
    written = [groups[g] for g in ("m", "d", "a", "b") if groups.get(g)]
    has_zeros = any(w.startswith("0") for w in written)
    is_all_digits = not groups.get("mon") and all(len(w) == 2 for w in written)
    return f"{number:02d}" if has_zeros or is_all_digits else str(number)


def _format_name(old: str, names: list[str], index: int, is_whole: bool) -> str:
    return _match_case(old, names[index] if is_whole else names[index][:3])


def _match_case(old: str, new: str) -> str:
    if old == old.upper():
        return new.upper()
    return new if old == old.lower() else new[:1].upper() + new[1:]


_AGE = re.compile(
    rf"^\W*(?:aged?\s+)?(?:of\s+)?(?:(?P<digits>\d{{1,3}})|(?P<hundred>(?:one|a)[-\s]hundred\b(?:[-\s]and)?(?:[-\s]{BELOW_100})?)"
    rf"|(?P<words>{BELOW_100})\b)(?P<rest>.*)$",
    re.IGNORECASE | re.DOTALL,
)
_SHORTER_UNIT = re.compile(r"^[-\s]?(?:hours?|days?|d|weeks?|wks?|w|months?|mos?|m/o)\b", re.IGNORECASE)
_YEARS_OLD = r"[-\s]{0,5}+(?:(?:years?|yrs?|y\.?/?o\.?|y)(?![^\W\d_])\.?)?[-\s]{0,5}+(?:old(?![^\W\d_])|of[-\s]age)?"
_AGE_WORDS = re.compile(rf"{_YEARS_OLD}[-\s.]*", re.IGNORECASE)
_SEX = compile_bounded(rf"{_YEARS_OLD}[-\s]{{0,5}}(?P<sex>[MF]|male|female|man|woman)", re.IGNORECASE)
_NINETIES = compile_bounded(
    r"^\W*(?:in\s+)?(?:(?:her|his|their|the)\s+)?(?:mid|early|late)?[-\s]*(?:nineties|90'?s|centenarian|nonagenarian)\W*$",
    re.IGNORECASE,
)
UNKNOWN_AGE = "of unstated age"


def is_readable_age(text: str) -> bool:
    return bool(_NINETIES.match(text)) or _read_age(text) is not None


def generalise_age(text: str) -> str:
    """The text unchanged up to 89 years, "90 or older" above; "of unstated age" if it cannot be parsed."""
    if _NINETIES.match(text):
        return "90 or older"
    read = _read_age(text)
    if read is None:
        return UNKNOWN_AGE
    years, rest = read
    if years <= MAX_DISCLOSED_AGE or _SHORTER_UNIT.match(rest):
        return text
    sex = _SEX.fullmatch(rest)
    age = "90-or-older" if re.search(r"-old$", rest, re.IGNORECASE) else "90 or older"
    return f"{age} {sex['sex']}" if sex else age


def _read_age(text: str) -> tuple[int, str] | None:
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
