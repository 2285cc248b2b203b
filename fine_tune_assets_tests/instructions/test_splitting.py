"""The split of a patient is frozen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.instructions.splitting import split_of

FRACTIONS = st.floats(0, 0.45)
GOLDEN = [
    "train",
    "train",
    "validation",
    "validation",
    "train",
    "test",
    "train",
    "train",
    "train",
    "train",
    "test",
    "test",
]


def test_known_patients_stay_where_they_are() -> None:
    """A golden list: if it changes, patients of every installation move between training and test."""
    found = [split_of(f"patient{number}", "salt", 0.2, 0.2) for number in range(12)]
    assert found == GOLDEN


@given(key=st.text(max_size=20), salt=st.text(max_size=10), validation=FRACTIONS, test=FRACTIONS)
def test_a_larger_validation_split_takes_patients_from_train_only(
    key: str, salt: str, validation: float, test: float
) -> None:
    """Old test scores stay comparable when the validation fraction is changed."""
    before = split_of(key, salt, validation, test)
    after = split_of(key, salt, validation + 0.05, test)
    assert after == before or (before, after) == ("train", "validation")


@given(key=st.text(max_size=20), salt=st.text(max_size=10))
def test_a_fraction_of_zero_takes_nobody(key: str, salt: str) -> None:
    """The bounds are exact."""
    assert split_of(key, salt, 0.0, 0.0) == "train"


def test_the_fractions_are_met_over_many_patients() -> None:
    """10,000 patients: the standard deviation of a share of 0.2 is 0.004."""
    found = [split_of(str(number), "salt", 0.1, 0.2) for number in range(10_000)]
    assert found.count("validation") / 10_000 == pytest.approx(0.1, abs=0.015)
    assert found.count("test") / 10_000 == pytest.approx(0.2, abs=0.015)


def test_another_salt_makes_another_split() -> None:
    """The salt is what a new product line changes."""
    keys = [str(number) for number in range(200)]
    assert [split_of(k, "a", 0.2, 0.2) for k in keys] != [split_of(k, "b", 0.2, 0.2) for k in keys]


def test_fractions_that_leave_nothing_to_train_on_are_refused() -> None:
    """A recipe that can't work says so before anything is built."""
    with pytest.raises(RecipeError):
        split_of("patient", "salt", 0.5, 0.5)
