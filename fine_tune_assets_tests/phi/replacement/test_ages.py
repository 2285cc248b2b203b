"""Ages over 89 become one class; other ages are not identifiers."""

import pytest

from fine_tune_assets.phi.replacement.surrogate_dates import generalise_age


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("94-year-old", "90-or-older"),
        ("94 year old", "90 or older"),
        ("93 years", "90 or older"),
        ("90", "90 or older"),
        ("104 y/o", "90 or older"),
        ("91F", "90 or older F"),
        ("91yo male", "90 or older male"),
        ("ninety-one years of age", "90 or older"),
        ("Ninety-four-year-old", "90-or-older"),
        ("one hundred and two years old", "90 or older"),
        ("a hundred", "90 or older"),
        ("in her nineties", "90 or older"),
    ],
)
def test_age_over_89_becomes_ninety_or_older(text: str, expected: str) -> None:
    assert generalise_age(text) == expected


@pytest.mark.parametrize("text", ["89", "45-year-old", "eighty-nine years", "94 months old", "100 days", "6 weeks old"])
def test_other_ages_are_kept(text: str) -> None:
    """45 CFR 164.514(b)(2)(i)(C) covers only ages over 89; 94 months are eight years."""
    assert generalise_age(text) == text


@pytest.mark.parametrize("text", ["9O-year-old", "Quixley, 94", "elderly"])
def test_unparsable_age_is_not_kept(text: str) -> None:
    """It was found as an identifier, so it may contain one."""
    assert generalise_age(text) == "of unstated age"
