"""The split of a patient is frozen."""

from dataclasses import replace
from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.instructions.splits import (
    EarlierTests,
    SplitRule,
    late_patients,
    require_fitting_day,
    require_same_test,
    split_of,
)
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import ScrubSettings
from fine_tune_assets_tests.instructions.examples import SPLIT, patients_in

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


SCRUB = load_recipe("demo_smollm2").scrub
BY_TIME = replace(SPLIT, test_from="2025-01-01")


def _reports(*rows: tuple[str, date | None]) -> pa.Table:
    columns = {"patient_key": [r[0] for r in rows], "written_on": pa.array([r[1] for r in rows], pa.date32())}
    return pa.table(columns)


def test_a_report_of_the_day_or_later_takes_its_patient_to_test() -> None:
    """The exam of a split by time is the future."""
    rows = [
        ("old", date(2024, 12, 31)),
        ("new", date(2025, 1, 1)),
        ("both", date(2024, 1, 1)),
        ("both", date(2026, 1, 1)),
    ]
    late = late_patients(_reports(*rows, ("undated", None)), BY_TIME.test_from)
    assert late == {"new", "both"}
    assert late_patients(_reports(*rows), None) == frozenset()


@given(
    patient=st.text(max_size=9),
    days=st.lists(st.dates(date(2020, 1, 1), date(2030, 1, 1)), max_size=4),
    more=st.dates(),
)
def test_more_reports_take_nobody_out_of_test(patient: str, days: list[date], more: date) -> None:
    """Frozen: whatever arrives, a patient of the test split stays there, and whom the hash tests is tested by time too."""

    def split(of: list[date]) -> str:
        rows = _reports(*((patient, day) for day in of))
        return SplitRule(BY_TIME, late_patients(rows, BY_TIME.test_from)).split_of(patient)

    before, after = split(days), split([*days, more])
    assert after == before or after == "test"
    if SplitRule(SPLIT).split_of(patient) == "test":
        assert before == after == "test"


def test_switching_the_option_on_moves_nobody_out_of_test_and_switching_it_off_is_refused() -> None:
    """Off, the late patients would be trained on: their scores would be worth nothing."""
    (trained,) = patients_in("train", 1)
    earlier = EarlierTests(by_another_rule=frozenset({trained}))
    require_same_test(earlier, {"somebody else"})
    with pytest.raises(RecipeError, match=r"change split\.salt too"):
        require_same_test(earlier, {trained, "somebody else"})


@pytest.mark.parametrize(
    ("changes", "day", "message"),
    [
        ({}, "2025-01-01", None),
        ({}, "2025-06-01", "first of January"),
        ({"replacement": "tags", "profile": "limited_dataset"}, "2025-06-01", "first of January"),
        ({"profile": "limited_dataset"}, "2025-06-01", None),
        ({"profile": "limited_dataset", "shift_dates": True}, "2025-01-01", "another calendar"),
        ({"shift_dates": True}, None, None),
    ],
)
def test_a_day_that_scrubbing_does_not_leave_is_refused(
    changes: dict[str, Any], day: str | None, message: str | None
) -> None:
    """Under Safe Harbor a report of December stands as the first of January: an earlier cut-off would pass it."""
    scrub: ScrubSettings = replace(SCRUB, **changes)
    if message is None:
        require_fitting_day(replace(SPLIT, test_from=day), scrub)
    else:
        with pytest.raises(RecipeError, match=message):
            require_fitting_day(replace(SPLIT, test_from=day), scrub)
