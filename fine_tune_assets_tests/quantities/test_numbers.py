"""Numbers in an output that its input does not contain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.quantities.numbers import find_unsupported_numbers, read_numbers

SMALL = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
]
SMALL += ["seventeen", "eighteen", "nineteen"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def spoken(number: int) -> str:
    if number < 20:
        return SMALL[number]
    return TENS[number // 10 - 2] + (f" {SMALL[number % 10]}" if number % 10 else "")


@given(number=st.integers(0, 99), joiner=st.sampled_from([" ", "-"]))
def test_number_words_up_to_ninety_nine_support_their_digits(number: int, joiner: str) -> None:
    """People say numbers in a dialogue; notes contain digits."""
    assert find_unsupported_numbers(f"He is {number}.", f"I'm {spoken(number).replace(' ', joiner)} now") == []


@given(written=st.integers(0, 99), input_number=st.integers(0, 99))
def test_number_missing_from_the_input_is_found(written: int, input_number: int) -> None:
    """A reviewer must see a flag: 40 instead of the spoken 80."""
    if str(written) not in read_numbers(spoken(input_number)):
        assert find_unsupported_numbers(f"Take {written} mg.", f"take {spoken(input_number)} milligrams") == [
            f"{written} mg"
        ]


@pytest.mark.parametrize(
    ("output", "input_text"),
    [
        ("BP 140/90", "one forty over ninety"),
        ("in 2008", "in two thousand eight"),
        ("120 mg", "one hundred and twenty milligrams"),
        ("1,200 ml and 2.0 cm", "1200 ml, two centimetres"),
        ("on the 10th", "January tenth"),
        ("two tablets", "2 tablets"),
        ("1. Rest\n2. Ice", ""),
        ("Hypertension. 2. Asthma. 3. Gout.", ""),
        ("Has: 1. Asthma. 2. Gout.", ""),
        ("died in his 60s", "he was sixty four"),
        ("rate in the 50s", "it came to the fifties"),
        ("Temperature 102.6, A1c 7.4, 0.125 mg", "one o two point six, seven . four, point one twenty five"),
        ("22.5 mg and 0.5 mg, 2.0 cm", "twenty two point five, then .5, two point zero"),
        ("1.5 hours, 2.5 mg", "an hour and a half, two and a half milligrams"),
        ("1-1/2 packs", "one and a half packs"),
        ("1 week ago, twice, 2 days", "a week ago, two times, a couple of days"),
        ("14-day average, 18 months", "over two weeks, eighteen months"),
        ("a 24 month history", "for two years"),
        ("100 packs, 1000 ml", "a hundred packs, a thousand"),
        ("in 1996", "in ninety six"),
        ("at 4:00 PM", "at four"),
        ("COVID-19, home O2, oriented x3", ""),
        ("pain 4/10 on a 0 to 10 scale", "a four"),
        ("for 3/7 and 2/52", "three days, two weeks"),
        ("none, 0", ""),
        ("Seen on [DATE_12].", ""),
        ("One of the first signs.", ""),
    ],
)
def test_spoken_forms_of_a_number_are_understood(output: str, input_text: str) -> None:
    """A false alarm on every example would teach reviewers to ignore the flags."""
    assert find_unsupported_numbers(output, input_text) == []


@pytest.mark.parametrize(
    ("output", "input_text", "found"),
    [
        ("in his 60s", "he is seventy four", ["60"]),
        ("14 days", "three weeks", ["14 days"]),
        ("oriented x7", "", ["7"]),
        ("call 1999", "call ninety nine", ["1999"]),
        ("2.5 mg", "two, five milligrams", ["2.5 mg"]),
        ("Take 3. Then rest.", "take two", ["3"]),
    ],
)
def test_similar_spoken_form_of_another_number_is_found(output: str, input_text: str, found: list[str]) -> None:
    """Every accepted reading could let a wrong dose through."""
    assert find_unsupported_numbers(output, input_text) == found


def test_unsupported_number_is_listed_once_with_its_unit() -> None:
    """The reviewer searches for the flagged text."""
    assert find_unsupported_numbers("40 mg, then 40 mg, seventy six days", "") == ["40 mg", "seventy six"]
