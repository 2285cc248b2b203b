"""Known dates in every format, without matching other dates."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets_tests.phi.partial_scrub import scrubbed

STATED = [
    "1957-03-14",
    "19570314",
    "19570314120000",
    "19570314120000.000-0500",
    "1957-03-14T00:00:00Z",
    "3/14/1957",
    "14.03.1957",
]
STATED += ["March 14, 1957", "14-MAR-1957", "03/14/57"]
WRITTEN = [
    "1957-03-14",
    "1957/03/14",
    "1957-03-14T10:00:00Z",
    "3/14/1957",
    "03/14/57",
    "03-14-57",
    "14.03.1957",
    "14.3.57",
    "14 / 03 / 1957",
    "19570314",
    "19570314120000",
    "031457",
    "March 14, 1957",
    "March 14th, 1957",
    "March 14th 1957",
    "march 14 1957",
    "Mar. 14 ’57",
    "14 Mar 1957",
    "14-Mar-57",
    "14MAR1957",
    "14th March, 1957",
    "the 14th of March 1957",
    "the 14th of March",
    "March the 14th",
    "March 14",
    "14 March",
    "fourteenth of March nineteen fifty-seven",
    "the fourteenth day of March, nineteen fifty seven",
    "march fourteenth nineteen fifty seven",
    "march fourteen",
    "March 1957",
    "march of nineteen fifty-seven",
    "03/1957",
]


@pytest.mark.parametrize("stated", STATED)
@pytest.mark.parametrize("written", WRITTEN)
def test_known_date_is_found_in_every_format(stated: str, written: str) -> None:
    """The header uses one format; notes, letters and dictations use others."""
    assert scrubbed(f"Seen ({written}), well.", "date", stated) == "Seen ([DATE]), well."


@pytest.mark.parametrize(
    "text",
    [
        "Well since 1957.",
        "March 15, 1957",
        "March 14, 2024",
        "14 April 1957",
        "2024-03-14",
        "3/14 pain, 3/14 of it",
        "in March, on the march",
        "may 14",
        "March 140 mg",
        "14 of 1957",
        "BP 140/80, 14.03",
        "11957-03-14, 1957-03-145, 3/14/19570",
    ],
)
def test_other_dates_and_bare_years_are_kept(text: str) -> None:
    """Other rules handle other dates; a year alone is not an identifier."""
    assert scrubbed(text, "date", "1957-03-14") == text


def test_two_number_birthday_is_removed_only_after_a_birth_word() -> None:
    """3/14 alone is a score."""
    assert scrubbed("born 3/14, DOB: 03/14, birthday is 3/14, pain 3/14", "date", "1957-03-14") == (
        "born [DATE], DOB: [DATE], birthday is [DATE], pain 3/14"
    )


def test_two_digits_after_a_day_are_kept() -> None:
    """The dose must stay."""
    assert scrubbed("march 14, 20 tablets", "date", "1957-03-14") == "[DATE], 20 tablets"


def test_spelled_years_of_this_century_are_read() -> None:
    """As dictated: two thousand and five, and twenty oh five."""
    text = "june twenty-first two thousand and five; the twenty first of june twenty oh five"
    assert scrubbed(text, "date", "2005-06-21") == "[DATE]; [DATE]"


def test_ambiguous_date_is_removed_in_both_readings() -> None:
    """3/4 is March 4 or April 3 depending on the country; the file does not say which."""
    assert scrubbed("March 4, 1957; 4 March 1957; 3 April 1957", "date", "3/4/1957") == "[DATE]; [DATE]; [DATE]"


def test_month_without_a_day_is_removed_with_its_year() -> None:
    """FHIR allows such birth dates."""
    assert (
        scrubbed("Born March 1957, 03/1957; 1957; March 2, 1958", "date", "1957-03")
        == "Born [DATE], [DATE]; 1957; March 2, 1958"
    )


FORMATS = [
    "%Y-%m-%d",
    "%m/%d/%Y",
    "%m-%d-%y",
    "%d.%m.%Y",
    "%Y%m%d",
    "%B %d, %Y",
    "%d %b %Y",
    "%d-%b-%y",
    "%B %d",
    "%A, %B %d, %Y",
]


@given(
    st.dates(date(1901, 1, 1), date(2029, 12, 31)),
    st.sampled_from(FORMATS),
    st.sampled_from(FORMATS[:1] + FORMATS[4:7]),
)
def test_any_date_in_any_format_is_removed(day: date, written: str, stated: str) -> None:
    """No list of examples covers all dates."""
    left = scrubbed(f"Seen {day.strftime(written)} again.", "date", day.strftime(stated))
    assert left in ("Seen [DATE] again.", f"Seen {day.strftime('%A')}, [DATE] again.")
