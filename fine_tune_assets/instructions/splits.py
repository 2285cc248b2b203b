"""Assigns a patient to a split, for ever.

Owns the rule: a keyed hash of the patient key decides, and, where the recipe names a day, whether a report of the patient
was written on it or later. So no new data moves a patient out of the test split, and no patient is in two. Does not know
how many patients there are; small sets can miss the fractions.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.fingerprints import keyed_hash
from fine_tune_assets.recipes.schema import ScrubSettings, SplitSettings

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
PRECEDENCE: tuple[Split, ...] = ("test", "validation", "train")
"""Of two splits that hold the same thing, the earlier one here keeps it: the exam before the lessons."""
_HEX_DIGITS = 13
"""52 bits of the hash: as many as a float holds exactly."""


def split_of(patient_key: str, salt: str, validation_fraction: float, test_fraction: float) -> Split:
    """The split of a patient. Test takes the lowest hashes, validation the next, train the rest.

    So a larger validation fraction takes patients from train only, and test stays as it was. Raises RecipeError if the
    two fractions leave nothing to train on.
    """
    if validation_fraction + test_fraction >= 1:
        raise RecipeError("split: validation_fraction and test_fraction together must stay below 1.")
    place = int(keyed_hash(salt.encode("utf-8"), patient_key)[:_HEX_DIGITS], 16) / 16**_HEX_DIGITS
    if place < test_fraction:
        return "test"
    return "validation" if place < test_fraction + validation_fraction else "train"


@dataclass(frozen=True)
class EarlierTests:
    """Test splits of earlier sets."""

    by_this_rule: frozenset[str] = frozenset()
    """Patients whom the present rule put there."""
    by_another_rule: frozenset[str] = frozenset()
    """Patients whom another test fraction or another day put there."""
    examples: Mapping[str, str] = field(default_factory=dict)
    """Fingerprint of each example that was tested on → short name of a set."""

    @property
    def patients(self) -> frozenset[str]:
        return self.by_this_rule | self.by_another_rule


@dataclass(frozen=True)
class SplitRule:
    """The recipe's split, and the patients whom it takes to test for another reason than their hash."""

    settings: SplitSettings
    late_patients: frozenset[str] = frozenset()
    """Patients with a report of `settings.test_from` or later."""
    tested_before: frozenset[str] = frozenset()
    """Test patients of earlier sets by the same rule: a report that was withdrawn since does not bring them back."""

    @property
    def by_time(self) -> bool:
        return self.settings.test_from is not None

    def split_of(self, patient_key: str) -> Split:
        if patient_key in self.late_patients or patient_key in self.tested_before:
            return "test"
        return split_of(patient_key, self.settings.salt, self.settings.validation_fraction, self.settings.test_fraction)


def require_same_test(earlier: EarlierTests, trained_now: Set[str | None]) -> None:
    """Raise RecipeError if the recipe would train on patients whom an earlier set tested on.

    `trained_now`: patients outside of the test split.
    """
    moved = earlier.by_another_rule & trained_now
    if moved:
        raise RecipeError(
            f"{len(moved)} patients were tested on by earlier sets with this split.salt, and would now be trained on, since "
            "split.test_fraction or split.test_from changed. Put these back, or change split.salt too: then old test "
            "scores no longer compare."
        )


def late_patients(reports: pa.Table, test_from: str | None) -> frozenset[str]:
    """Patients with a report that was written on that day or later. `reports` has `patient_key` and `written_on`."""
    if test_from is None:
        return frozenset()
    is_late = pc.greater_equal(reports.column("written_on"), pa.scalar(date.fromisoformat(test_from), pa.date32()))
    late = reports.filter(pc.fill_null(is_late, False))
    return frozenset(late.column("patient_key").to_pylist())


def require_fitting_day(split: SplitSettings, scrub: ScrubSettings) -> None:
    """Raise RecipeError where the recipe's scrubbing leaves no day that `test_from` could be compared with.

    Shifted dates say nothing about the calendar. Where dates become years, a report of 2025 stands as the first of January:
    a day within a year would count a December report as an early one.
    """
    if split.test_from is None:
        return
    has_surrogates = scrub.replacement == "surrogates"
    if has_surrogates and scrub.shift_dates:
        raise RecipeError("split.test_from can't be used with scrub.shift_dates: every patient has another calendar.")
    keeps_days = has_surrogates and scrub.profile == "limited_dataset"
    if not keeps_days and not split.test_from.endswith("-01-01"):
        raise RecipeError(
            "split.test_from must be the first of January of a year: scrubbing leaves of a report's day only the year."
        )
