"""Dates in every format are reduced to a year, or shifted in their own format."""

import re
from datetime import date, timedelta

import pytest
from dateutil import parser
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.phi.replacement.surrogate_dates import reduce_to_years, shift_text_dates
from fine_tune_assets.quantities.dates import DateReader
from fine_tune_assets.quantities.spelled_numbers import read_ordinal, read_year, spell_ordinal, spell_year

READER = DateReader(current_year=2026, is_day_first=False)
FORMS = [
    "%Y-%m-%d",
    "%m/%d/%Y",
    "%m-%d-%Y",
    "%Y/%m/%d",
    "%Y%m%d",
    "%B %d, %Y",
    "%b %d, %Y",
    "%b. %d %Y",
    "%d %B %Y",
    "%d-%b-%Y",
    "%d%b%Y",
    "%A, %B %d, %Y",
    "%a %d %b %Y",
    "%Y-%m-%dT10:30:00Z",
    "%m/%d/%Y 10:30",
    "%m/%d/%Y at 9:05 am",
]
DAYS = st.dates(date(1940, 1, 1), date(2027, 12, 31))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("03/14/2021", "2021"),
        ("3/14/21", "2021"),
        ("March 14, 2021", "2021"),
        ("14th of March 2021", "2021"),
        ("14 March 21", "2021"),
        ("Mar 14 '21", "2021"),
        ("14.03.2021", "2021"),
        ("31/10/2021", "2021"),
        ("2021-03-14T10:30:00Z", "2021"),
        ("20210314103000", "2021"),
        ("March 2021", "2021"),
        ("mid-March 2021", "2021"),
        ("03/2021", "2021"),
        ("spring 2021", "2021"),
        ("2021", "2021"),
        ("the 1990s", "the 1990s"),
        ("April fifteenth two thousand five", "2005"),
        ("nineteen ninety-nine", "1999"),
        ("March 14-16, 2021", "2021"),
        ("12/30/2020 to 1/2/2021", "2020 to 2021"),
        ("3/14/2021 - 3/16/2021", "2021"),
        ("March 14", "that day"),
        ("3/14", "that day"),
        ("the third of July", "that day"),
        ("Monday", "that day"),
        ("Christmas", "that day"),
        ("March", "that month"),
        ("last March", "that month"),
        ("MARCH 14", "THAT DAY"),
        ("yesterday", "yesterday"),
        ("10:30 am", "10:30 am"),
        ("99/99/9999", "that day"),
        ("Quixley 3/14", "that day"),
        ("Quixley 3/14/2021", "2021"),
    ],
)
def test_safe_harbor_keeps_only_the_year(text: str, expected: str) -> None:
    """Months and days are identifiers; an invented date would be wrong."""
    assert reduce_to_years(text, "seen on ", READER) == expected


@pytest.mark.parametrize("text", ["3/14/31", "03/14/1931", "1931", "July 4, 1936", "1901", "the 1930s"])
def test_year_that_reveals_an_age_over_89_is_generalised(text: str) -> None:
    """45 CFR 164.514(b)(2)(i)(C): "all elements of dates (including year) indicative of such age"."""
    assert reduce_to_years(text, "born ", READER) == "1936 or earlier"
    assert reduce_to_years("7/4/1937", "born ", READER) == "1937"


def test_neutral_word_is_capitalised_at_the_start_of_a_sentence() -> None:
    assert reduce_to_years("March 14", "She fell. ", READER) == "That day"
    assert reduce_to_years("March 14", "", READER) == "That day"
    assert reduce_to_years("March 14", "Seen on ", READER) == "that day"


@pytest.mark.parametrize(
    ("text", "days", "expected"),
    [
        ("03/14/2021", 20, "04/03/2021"),
        ("3/14/21", 20, "4/3/21"),
        ("12/14/2021", 20, "01/03/2022"),
        ("March 14th, 2021", 20, "April 3rd, 2021"),
        ("MAR 14, 2021", -14, "FEB 28, 2021"),
        ("14-May-2021", 30, "13-Jun-2021"),
        ("May 14", 30, "June 13"),
        ("14.3.2021", 1, "15.3.2021"),
        ("31/10/2021", 1, "01/11/2021"),
        ("2020-02-29", 365, "2021-02-28"),
        ("Feb 29", 1, "Mar 1"),
        ("February 28", 1, "March 1"),
        ("Monday, March 15, 2021", 1, "Tuesday, March 16, 2021"),
        ("Mon", -1, "Sun"),
        ("March 2021", 31, "April 2021"),
        ("in March", 31, "in April"),
        ("April fifteenth two thousand five", 20, "May fifth two thousand five"),
        ("the third of July", 1, "the fourth of July"),
        ("3/14/2021 - 3/16/2021", 1, "3/15/2021 - 3/17/2021"),
        ("2021-03-14T10:30:00Z", 1, "2021-03-15T10:30:00Z"),
        ("20210314103000", 1, "20210315103000"),
        ("the 1990s", 300, "the 1990s"),
        ("yesterday", 5, "yesterday"),
        ("Christmas 2021", 5, "that day"),
        ("March 14-16, 2021", 5, "that day"),
        ("Quixley 3/14/2021", 5, "that day"),
        ("99/99/9999", 5, "that day"),
    ],
)
def test_shifted_date_keeps_its_form_and_an_unclear_one_is_not_kept(text: str, days: int, expected: str) -> None:
    assert shift_text_dates(text, days, "seen on ", READER) == expected


def test_day_first_order_can_be_set() -> None:
    european = DateReader(current_year=2026, is_day_first=True)
    assert shift_text_dates("03/04/2021", 1, "", european) == "04/04/2021"
    assert shift_text_dates("03/04/2021", 1, "", READER) == "03/05/2021"
    assert shift_text_dates("03.04.2021", 1, "", READER) == "04.04.2021"


@given(DAYS, st.integers(-365, 365), st.sampled_from(FORMS))
def test_dateutil_confirms_the_shift(day: date, days: int, form: str) -> None:
    """An independent parser checks format and interval."""
    moved = shift_text_dates(day.strftime(form), days, "", READER)
    assert parser.parse(moved).date() == day + timedelta(days=days)
    assert _plain(moved) == _plain((day + timedelta(days=days)).strftime(form))


def _plain(text: str) -> str:
    """Next to May 10, the format of May 9 or 09, and of the next month (Jun or June), is ambiguous."""
    months = re.sub(r"(?i)(jan|feb|mar|apr|jun|jul|aug|sep|oct|nov|dec)[a-z]*", r"\1", text)
    return re.sub(r"(?<![\d:/-])0(?=\d\b|\d[A-Za-z])(?!\d:)", "", months)


@given(DAYS, DAYS, st.integers(-365, 365), st.sampled_from(FORMS), st.sampled_from(FORMS))
def test_interval_between_two_dates_is_preserved(first: date, second: date, days: int, form: str, other: str) -> None:
    """ "Three days after the operation" must stay true, whatever the formats of the two dates."""
    moved = [
        parser.parse(shift_text_dates(d.strftime(f), days, "", READER)).date()
        for d, f in ((first, form), (second, other))
    ]
    assert moved[1] - moved[0] == second - first


@given(DAYS, st.sampled_from(FORMS))
def test_only_the_year_remains_in_any_form(day: date, form: str) -> None:
    expected = str(day.year) if day.year > 1936 else "1936 or earlier"
    assert reduce_to_years(day.strftime(form), "", READER) == expected


@given(st.integers(1900, 2099))
def test_spelled_year_is_parsed_back(year: int) -> None:
    assert read_year(spell_year(year)) == year


@given(st.integers(1, 31))
def test_spelled_day_is_parsed_back(day: int) -> None:
    assert read_ordinal(spell_ordinal(day)) == day


@given(st.text(max_size=40))
def test_no_number_but_a_year_remains_of_any_text(text: str) -> None:
    """A finding labelled DATE that cannot be parsed may be anything."""
    out = reduce_to_years(text, "", READER)
    assert out == text or out.lower() in {"that day", "that month"} or out[:4].isdigit()
