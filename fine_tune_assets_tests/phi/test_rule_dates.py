"""Short dates in notes; scores and fractions in the same form must stay."""

import pytest

from fine_tune_assets.phi.recognizers.short_dates import find_corroborated_dates, widen_to_short_date
from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets.phi.tagger.prediction import TaggedWord
from fine_tune_assets_tests.phi.partial_scrub import by_rules


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("UCx 4/11 grew E coli.", "UCx [DATE] grew E coli."),
        ("CT chest 9/30: no PE.", "CT chest [DATE]: no PE."),
        ("Tendon repaired 10/2 in clinic.", "Tendon repaired [DATE] in clinic."),
        ("Metformin, last filled 7/28, none left.", "Metformin, last filled [DATE], none left."),
        ("Pump off 6/14 1430.", "Pump off [DATE] 1430."),
        ("Please move the 03-07 appt.", "Please move the [DATE] appt."),
    ],
)
def test_month_and_day_after_an_event_or_before_a_time_is_removed(text: str, expected: str) -> None:
    """Short notes omit the year and the word "on"."""
    assert by_rules(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Strength 4/5 0900, pain 3/10 1400.",
        "MRI: 2/3 of the disc. Filled 1/2 cup. Started 1/2 tab daily.",
        "Echo 2/6 systolic murmur. Cap refill 2-3 s.",
        "Removed 3/4 the sutures; labs 1/2 normal saline.",
        "Vision 20/20, BP 118/76 1200, placed 13/14 implants.",
    ],
)
def test_scores_fractions_and_pressures_are_kept(text: str) -> None:
    """If masked, they would teach the model to write [DATE] for a strength."""
    assert by_rules(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fell on Thanksgiving, again New Year's Eve.", "Fell on [DATE], again [DATE]."),
        ("Seen the day after CHRISTMAS DAY.", "Seen the day after [DATE]."),
        ("Since Mother's Day and Fourth of July.", "Since [DATE] and [DATE]."),
        ("Christmas disease, factor IX. The Christmas tree.", "Christmas disease, factor IX. The Christmas tree."),
        ("A Labor and delivery unit on day 2.", "A Labor and delivery unit on day 2."),
    ],
)
def test_holidays_are_dates(text: str, expected: str) -> None:
    """With the year of the report, a holiday is a date."""
    assert by_rules(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("INR from the 14th was 2.", "INR from the [DATE] was 2."),
        ("Next visit thurs 23rd.", "Next visit thurs [DATE]."),
        ("On the eleventh he fell.", "On the [DATE] he fell."),
        ("Well until the twenty-sixth, then ill.", "Well until the [DATE], then ill."),
        ("Broke the 5th metatarsal; ulcer on the 4th toe.", "Broke the 5th metatarsal; ulcer on the 4th toe."),
        ("Lives on the 3rd floor, on the 2nd line.", "Lives on the 3rd floor, on the 2nd line."),
        ("Pain on the 5th, 6th and 7th ribs.", "Pain on the 5th, 6th and 7th ribs."),
        ("A tenth of it; the third time; on the first try.", "A tenth of it; the third time; on the first try."),
    ],
)
def test_ordinal_is_a_day_only_if_it_counts_nothing(text: str, expected: str) -> None:
    """Toes, ribs and floors use the same ordinals."""
    assert by_rules(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("surgery was back in february", "surgery was back in [DATE]"),
        ("On it since Sept. and until Dec", "On it since [DATE] and until [DATE]"),
        ("Free Nov 5 or 7.", "Free [DATE]."),
        ("it may help; they march; in may be", "it may help; they march; in may be"),
        ("date of birth six nine seventy two", "date of birth [DATE]"),
        ("dob is march third nineteen forty", "dob is [DATE]"),
    ],
)
def test_dictated_months_and_birth_dates_are_removed(text: str, expected: str) -> None:
    """Dictation has neither capitals nor digits."""
    assert by_rules(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Her father died of a stroke at 94.", "Her father died of a stroke at [AGE]."),
        ("shes 91 and weak", "shes [AGE] and weak"),
        ("Died at 58. Sats at 94%. hes 91 kg", "Died at 58. Sats at 94%. hes 91 kg"),
    ],
)
def test_abbreviated_ages_over_89_are_removed(text: str, expected: str) -> None:
    """45 CFR 164.514(b)(2)(i)(C)."""
    assert by_rules(text) == expected


@pytest.mark.parametrize(
    ("text", "at", "expected"),
    [("seen 3/14, well", 5, "3/14"), ("seen 31-1 well", 7, "31-1"), ("IOP 17/31 well", 4, "17"), ("pH 3/14/9", 3, "3")],
)
def test_part_of_a_short_date_is_widened(text: str, at: int, expected: str) -> None:
    """The tagger scores the two numbers separately."""
    end = at + len(text[at:].split("/")[0].split(" ")[0].split("-")[0])
    start, end = widen_to_short_date(text, at, end)
    assert text[start:end] == expected


def test_dates_like_a_found_one_need_less_tagger_probability() -> None:
    """A log of dates is rarely certain on every line; scores of the same form must stay."""
    text = "6/3: well. 6/4: worse. Strength 4/5, murmur 2/6, ratio 2/3."
    words = [TaggedWord(at, at + 1, "DATE", 0.1) for at in range(len(text)) if text[at].isdigit()]
    found = [Span(0, 3, "DATE", "tagger", 0.9)]
    assert [text[s.start : s.end] for s in find_corroborated_dates(text, found, words)] == ["6/3", "6/4"]
    assert list(find_corroborated_dates(text, [], words)) == []
    assert list(find_corroborated_dates(text, found, [])) == []
