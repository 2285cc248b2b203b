"""Numbers that an output holds and its input does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.core.numbers import numbers_in, unsupported_numbers

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
def test_every_number_word_up_to_ninety_nine_supports_its_digits(number: int, joiner: str) -> None:
    """In a dialogue people say numbers; in the note they are written."""
    assert unsupported_numbers(f"He is {number}.", f"I'm {spoken(number).replace(' ', joiner)} now") == []


@given(written=st.integers(0, 99), said=st.integers(0, 99))
def test_a_number_that_was_not_said_is_found(written: int, said: int) -> None:
    """The gate for a reviewer's eye: 40 where 80 was said must be flagged."""
    if str(written) not in numbers_in(spoken(said)):
        assert unsupported_numbers(f"Take {written} mg.", f"take {spoken(said)} milligrams") == [f"{written} mg"]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("BP 140/90", "one forty over ninety"),
        ("in 2008", "in two thousand eight"),
        ("120 mg", "one hundred and twenty milligrams"),
        ("1,200 ml and 2.0 cm", "1200 ml, two centimetres"),
        ("on the 10th", "January tenth"),
        ("two tablets", "2 tablets"),
        ("1. Rest\n2. Ice", ""),
        ("Seen on [DATE_12].", ""),
        ("One of the first signs.", ""),
    ],
)
def test_ways_of_saying_a_number_are_understood(output: str, said: str) -> None:
    """A false alarm on every example would teach reviewers to ignore the flags."""
    assert unsupported_numbers(output, said) == []


def test_each_unsupported_number_is_named_once_with_its_unit() -> None:
    """The reviewer searches for what the flag says."""
    assert unsupported_numbers("40 mg, then 40 mg, seventy six days", "") == ["40 mg", "seventy six"]
