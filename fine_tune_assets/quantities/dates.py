"""Parses dates in a text in all common formats, including ambiguous ones."""

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from fine_tune_assets.core.word_lists import read_lists
from fine_tune_assets.quantities.spelled_numbers import ORDINALS, YEAR_IN_WORDS, read_ordinal, read_year

_FUTURE_YEARS = 2
"""A two-digit year may lie this many years ahead, as in appointments; a later one belongs to the previous century."""
MONTHS = "january february march april may june july august september october november december".split()  # noqa: SIM905
WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday".split()  # noqa: SIM905

_MON = (
    r"(?P<mon>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept(?:ember)?|sep|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)(?![^\W\d_])\.?"
)
_DAY_BEFORE_MONTH = r"(?P<d>\d{1,2})(?!\d|:\d)(?P<ord>st|nd|rd|th)?"
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
        rf"(?<![\d:/]){_DAY_BEFORE_MONTH}(?:\s+(?:day\s+)?(?:of\s+)?|[-/.\s])?{_MON}(?:{_OF}{_YW}|(?:{_OF}|[-/.]){_Y4}|,?(?:\s+|[-/.]){_SHORT_YEAR})?",
        rf"\b{_MON}[-/]{_D}[-/](?:{_Y4}|{_Y2})",
        # Each group occurs once per form: a year has one of three notations.
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
DATE_WORDS_FILE = Path(__file__).parent / "reference" / "date_words.txt"
# Words that may be part of a date besides numbers and names; a text with any other word is not kept.
_DATE_WORDS = frozenset(read_lists(DATE_WORDS_FILE)["date_words"])
_WORDS = re.compile(r"[^\W\d_]+|\d")


@dataclass(frozen=True)
class DateMatch:
    """One date in a text with its components; if `weekday` is set, the others are None."""

    match: re.Match[str]
    year: int | None
    month: int | None
    day: int | None
    weekday: int | None
    is_day_first: bool


@dataclass(frozen=True)
class DateReader:
    """How to read ambiguous dates: `current_year` for two-digit years, `is_day_first` for 03/04/2021.

    A number over 12 is always the day, and 03.04.2021, with points, always starts with the day.
    """

    current_year: int
    is_day_first: bool

    def read(self, text: str) -> list[DateMatch]:
        """The dates in order, without overlaps."""
        found: list[DateMatch] = []
        for form in _FORMS:
            for match in form.finditer(text):
                is_free = not any(match.start() < f.match.end() and f.match.start() < match.end() for f in found)
                reading = self._read_match(match) if is_free else None
                if reading:
                    found.append(reading)
        return sorted(found, key=lambda f: f.match.start())

    def is_only_dates(self, text: str, dates: list[DateMatch]) -> bool:
        """Whether the text contains nothing but dates, times and the words that belong to them."""
        rest = text
        for found in reversed(dates):
            rest = f"{rest[: found.match.start()]} {rest[found.match.end() :]}"
        rest = _TIME.sub(" ", rest)
        return all(word.lower() in _DATE_WORDS for word in _WORDS.findall(rest))

    def _read_match(self, match: re.Match[str]) -> DateMatch | None:
        groups = {k: v for k, v in match.groupdict().items() if v is not None}
        if "wd" in groups:
            return DateMatch(match, None, None, None, _find_name_index(groups["wd"], WEEKDAYS), False)
        year, is_day_first = self._read_year(groups), self._is_day_first(groups)
        month, day = _read_month_and_day(groups, is_day_first)
        return DateMatch(match, year, month, day, None, is_day_first) if _is_valid_date(year, month, day) else None

    def _read_year(self, groups: dict[str, str]) -> int | None:
        if "yw" in groups:
            return read_year(groups["yw"])
        if "y4" in groups:
            return int(groups["y4"])
        if "y2" in groups:
            year = self.current_year // 100 * 100 + int(groups["y2"])
            return year - 100 if year > self.current_year + _FUTURE_YEARS else year
        return None

    def _is_day_first(self, groups: dict[str, str]) -> bool:
        if "a" not in groups:
            return False
        a, b = int(groups["a"]), int(groups["b"])
        return a > 12 or (b <= 12 and (self.is_day_first or groups["sep"] == "."))


def _read_month_and_day(groups: dict[str, str], is_day_first: bool) -> tuple[int | None, int | None]:
    if "a" in groups:
        a, b = int(groups["a"]), int(groups["b"])
        return (b, a) if is_day_first else (a, b)
    month = _find_name_index(groups["mon"], MONTHS) + 1 if "mon" in groups else None
    month = int(groups["m"]) if "m" in groups else month
    day = int(groups["d"]) if "d" in groups else None
    return month, read_ordinal(groups["dw"]) if "dw" in groups else day


def _find_name_index(name: str, names: list[str]) -> int:
    return next(i for i, full_name in enumerate(names) if full_name.startswith(name.lower()[:3]))


def _is_valid_date(year: int | None, month: int | None, day: int | None) -> bool:
    if year is None and month is None:
        return False
    try:
        date(year or 2000, month or 1, day or 1)  # a leap year
    except ValueError:
        return False
    return True
