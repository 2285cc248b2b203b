"""Splits are permanent."""

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
    assign_split,
    find_late_subjects,
    require_comparable_test_from,
    require_stable_test_split,
)
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import ScrubSettings
from fine_tune_assets_tests.instructions.examples import SPLIT, subjects_in

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


def test_known_subjects_keep_their_split() -> None:
    """If this golden list changes, subjects of every installation move between splits."""
    found = [assign_split(f"patient{number}", "salt", 0.2, 0.2) for number in range(12)]
    assert found == GOLDEN


@given(key=st.text(max_size=20), salt=st.text(max_size=10), validation=FRACTIONS, test=FRACTIONS)
def test_a_larger_validation_split_takes_subjects_from_train_only(
    key: str, salt: str, validation: float, test: float
) -> None:
    """Test scores stay comparable if the validation fraction changes."""
    before = assign_split(key, salt, validation, test)
    after = assign_split(key, salt, validation + 0.05, test)
    assert after == before or (before, after) == ("train", "validation")


@given(key=st.text(max_size=20), salt=st.text(max_size=10))
def test_a_fraction_of_zero_takes_no_subject(key: str, salt: str) -> None:
    """The bounds are exact."""
    assert assign_split(key, salt, 0.0, 0.0) == "train"


def test_the_fractions_are_met_over_many_subjects() -> None:
    """10,000 subjects: the standard deviation of a share of 0.2 is 0.004."""
    found = [assign_split(str(number), "salt", 0.1, 0.2) for number in range(10_000)]
    assert found.count("validation") / 10_000 == pytest.approx(0.1, abs=0.015)
    assert found.count("test") / 10_000 == pytest.approx(0.2, abs=0.015)


def test_another_salt_makes_another_split() -> None:
    """A new product line changes the salt."""
    keys = [str(number) for number in range(200)]
    assert [assign_split(k, "a", 0.2, 0.2) for k in keys] != [assign_split(k, "b", 0.2, 0.2) for k in keys]


def test_fractions_that_leave_nothing_to_train_on_are_refused() -> None:
    """The error comes before anything is built."""
    with pytest.raises(RecipeError):
        assign_split("patient", "salt", 0.5, 0.5)


SCRUB = load_recipe("demo_smollm2").scrub
BY_TIME = replace(SPLIT, test_from="2025-01-01")


def _reports(*rows: tuple[str, date | None]) -> pa.Table:
    columns = {"subject_key": [r[0] for r in rows], "written_on": pa.array([r[1] for r in rows], pa.date32())}
    return pa.table(columns)


def test_a_report_on_or_after_the_day_moves_its_subject_to_test() -> None:
    """A time-based split tests on later reports."""
    rows = [
        ("old", date(2024, 12, 31)),
        ("new", date(2025, 1, 1)),
        ("both", date(2024, 1, 1)),
        ("both", date(2026, 1, 1)),
    ]
    late = find_late_subjects(_reports(*rows, ("undated", None)), BY_TIME.test_from)
    assert late == {"new", "both"}
    assert find_late_subjects(_reports(*rows), None) == frozenset()


@given(
    subject=st.text(max_size=9),
    days=st.lists(st.dates(date(2020, 1, 1), date(2030, 1, 1)), max_size=4),
    more=st.dates(),
)
def test_more_reports_move_no_subject_out_of_test(subject: str, days: list[date], more: date) -> None:
    """Test subjects stay in test, and test subjects by hash are in test under a time-based split too."""

    def split(of: list[date]) -> str:
        rows = _reports(*((subject, day) for day in of))
        return SplitRule(BY_TIME, find_late_subjects(rows, BY_TIME.test_from)).assign(subject)

    before, after = split(days), split([*days, more])
    assert after == before or after == "test"
    if SplitRule(SPLIT).assign(subject) == "test":
        assert before == after == "test"


def test_removing_the_time_based_split_is_refused() -> None:
    """Late subjects would be trained on, which would invalidate their scores."""
    (trained,) = subjects_in("train", 1)
    earlier = EarlierTests(other_rules=frozenset({trained}))
    require_stable_test_split(earlier, {"another subject"})
    with pytest.raises(RecipeError, match=r"^1 .*split\.salt"):
        require_stable_test_split(earlier, {trained, "another subject"})


@pytest.mark.parametrize(
    ("changes", "day", "message"),
    [
        ({}, "2025-01-01", None),
        ({}, "2025-06-01", "-01-01"),
        ({"replacement": "tags", "profile": "limited_dataset"}, "2025-06-01", "-01-01"),
        ({"profile": "limited_dataset"}, "2025-06-01", None),
        ({"profile": "limited_dataset", "shift_dates": True}, "2025-01-01", "scrub.shift_dates"),
        ({"shift_dates": True}, None, None),
    ],
)
def test_a_day_that_scrubbed_dates_cannot_express_is_refused(
    changes: dict[str, Any], day: str | None, message: str | None
) -> None:
    """Under Safe Harbor, a report of December counts as January 1, before a cut-off within the year."""
    scrub: ScrubSettings = replace(SCRUB, **changes)
    if message is None:
        require_comparable_test_from(replace(SPLIT, test_from=day), scrub)
    else:
        with pytest.raises(RecipeError, match=message):
            require_comparable_test_from(replace(SPLIT, test_from=day), scrub)
