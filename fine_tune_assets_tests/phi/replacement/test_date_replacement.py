"""Dates: every form is read; a year is all that is left of one, or it is moved in its own form."""

import re
from datetime import date, timedelta

import pytest
from dateutil import parser
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.phi.replacement.dates import shifted, years_only
from fine_tune_assets.quantities.dates import DateReader
from fine_tune_assets.quantities.spelled_numbers import ordinal, read_ordinal, read_year, year_words

READER = DateReader(year_now=2026, is_day_first=False)
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
def test_safe_harbor_leaves_the_year_of_a_date(text: str, expected: str) -> None:
    """Months and days are identifiers; an invented date would be a wrong one."""
    assert years_only(text, "seen on ", READER) == expected


@pytest.mark.parametrize("text", ["3/14/31", "03/14/1931", "1931", "July 4, 1936", "1901", "the 1930s"])
def test_a_year_that_tells_an_age_over_89_is_no_year_anymore(text: str) -> None:
    """45 CFR 164.514(b)(2)(i)(C): "all elements of dates (including year) indicative of such age"."""
    assert years_only(text, "born ", READER) == "1936 or earlier"
    assert years_only("7/4/1937", "born ", READER) == "1937"


def test_a_word_for_a_date_at_the_start_of_a_sentence_is_capitalised() -> None:
    assert years_only("March 14", "She fell. ", READER) == "That day"
    assert years_only("March 14", "", READER) == "That day"
    assert years_only("March 14", "Seen on ", READER) == "that day"


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
def test_a_moved_date_keeps_its_form_and_an_unclear_one_is_not_passed_on(text: str, days: int, expected: str) -> None:
    assert shifted(text, days, "seen on ", READER) == expected


def test_who_writes_the_day_first_can_say_so() -> None:
    european = DateReader(year_now=2026, is_day_first=True)
    assert shifted("03/04/2021", 1, "", european) == "04/04/2021"
    assert shifted("03/04/2021", 1, "", READER) == "03/05/2021"
    assert shifted("03.04.2021", 1, "", READER) == "04.04.2021"


@given(DAYS, st.integers(-365, 365), st.sampled_from(FORMS))
def test_dateutil_reads_the_moved_date_as_so_many_days_later(day: date, days: int, form: str) -> None:
    """A reader that did not write it is the judge of form and interval."""
    moved = shifted(day.strftime(form), days, "", READER)
    assert parser.parse(moved).date() == day + timedelta(days=days)
    assert _plain(moved) == _plain((day + timedelta(days=days)).strftime(form))


def _plain(text: str) -> str:
    """Of May 10 nobody can tell whether a day before it is May 9 or May 09, and the month after it Jun or June."""
    months = re.sub(r"(?i)(jan|feb|mar|apr|jun|jul|aug|sep|oct|nov|dec)[a-z]*", r"\1", text)
    return re.sub(r"(?<![\d:/-])0(?=\d\b|\d[A-Za-z])(?!\d:)", "", months)


@given(DAYS, DAYS, st.integers(-365, 365), st.sampled_from(FORMS), st.sampled_from(FORMS))
def test_the_interval_of_two_dates_stays(first: date, second: date, days: int, form: str, other: str) -> None:
    """ "Three days after the operation" has to stay true, whatever the two dates look like."""
    moved = [parser.parse(shifted(d.strftime(f), days, "", READER)).date() for d, f in ((first, form), (second, other))]
    assert moved[1] - moved[0] == second - first


@given(DAYS, st.sampled_from(FORMS))
def test_only_the_year_of_any_form_is_left(day: date, form: str) -> None:
    expected = str(day.year) if day.year > 1936 else "1936 or earlier"
    assert years_only(day.strftime(form), "", READER) == expected


@given(st.integers(1900, 2099))
def test_a_year_in_words_is_read_back(year: int) -> None:
    assert read_year(year_words(year)) == year


@given(st.integers(1, 31))
def test_a_day_in_words_is_read_back(day: int) -> None:
    assert read_ordinal(ordinal(day)) == day


@given(st.text(max_size=40))
def test_of_any_text_no_number_but_a_year_is_left(text: str) -> None:
    """What was found to be a date and can't be read may be anything."""
    out = years_only(text, "", READER)
    assert out == text or out.lower() in {"that day", "that month"} or out[:4].isdigit()
