"""Assigns each subject to a split, permanently.

The split depends on a keyed hash of the subject key. If the recipe sets `test_from`, subjects with a report on or after that day
go to test regardless. New data therefore never moves a subject out of the test split, and no subject is in two splits. In small
sets the actual fractions can differ noticeably from those in the recipe.
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
"""If two splits contain the same content, the first one in this order keeps it."""
_HEX_DIGITS = 13
"""52 bits of the hash, which a float represents exactly."""


def assign_split(subject_key: str, salt: str, validation_fraction: float, test_fraction: float) -> Split:
    """The split of a subject: test takes the lowest hashes, validation the next, train the rest.

    A larger validation fraction thus takes subjects from train only. Raises RecipeError if the fractions leave nothing for train.
    """
    if validation_fraction + test_fraction >= 1:
        raise RecipeError("split: validation_fraction and test_fraction together must stay below 1.")
    position = int(keyed_hash(salt.encode("utf-8"), subject_key)[:_HEX_DIGITS], 16) / 16**_HEX_DIGITS
    if position < test_fraction:
        return "test"
    return "validation" if position < test_fraction + validation_fraction else "train"


@dataclass(frozen=True)
class EarlierTests:
    """Test splits of earlier sets."""

    same_rule: frozenset[str] = frozenset()
    """Test subjects under the current rule."""
    other_rules: frozenset[str] = frozenset()
    """Test subjects under another test fraction or day."""
    examples: Mapping[str, str] = field(default_factory=dict)
    """Fingerprint of each test example → short name of a set."""

    @property
    def subjects(self) -> frozenset[str]:
        return self.same_rule | self.other_rules


@dataclass(frozen=True)
class SplitRule:
    """The recipe's split settings, and the subjects that are in test regardless of their hash."""

    settings: SplitSettings
    late_subjects: frozenset[str] = frozenset()
    """Subjects with a report of `settings.test_from` or later."""
    previously_tested: frozenset[str] = frozenset()
    """Test subjects of earlier sets by the same rule; they stay in test even if their late report is withdrawn."""

    @property
    def is_time_based(self) -> bool:
        return self.settings.test_from is not None

    def assign(self, subject_key: str) -> Split:
        if subject_key in self.late_subjects or subject_key in self.previously_tested:
            return "test"
        return assign_split(
            subject_key, self.settings.salt, self.settings.validation_fraction, self.settings.test_fraction
        )


def require_stable_test_split(earlier: EarlierTests, training_subjects: Set[str | None]) -> None:
    """Raise RecipeError if a test subject of an earlier set is in `training_subjects`, those outside the test split."""
    moved = earlier.other_rules & training_subjects
    if moved:
        raise RecipeError(
            f"{len(moved)} test subjects of earlier sets with this split.salt would now be trained on, because "
            "split.test_fraction or split.test_from changed. Restore these, or change split.salt too; test scores are then not "
            "comparable with earlier ones."
        )


def find_late_subjects(reports: pa.Table, test_from: str | None) -> frozenset[str]:
    """Subjects with a report written on or after `test_from`. `reports` has `subject_key` and `written_on`."""
    if test_from is None:
        return frozenset()
    is_late = pc.greater_equal(reports.column("written_on"), pa.scalar(date.fromisoformat(test_from), pa.date32()))
    late = reports.filter(pc.fill_null(is_late, False))
    return frozenset(late.column("subject_key").to_pylist())


def require_comparable_test_from(split: SplitSettings, scrub: ScrubSettings) -> None:
    """Raise RecipeError if `test_from` can't be compared with scrubbed dates.

    Shifted dates have no relation to the calendar. Dates reduced to years count as January 1, so that with a day within the year
    a December report would count as early.
    """
    if split.test_from is None:
        return
    has_surrogates = scrub.replacement == "surrogates"
    if has_surrogates and scrub.shift_dates:
        raise RecipeError(
            "split.test_from can't be combined with scrub.shift_dates, because dates shift differently per subject."
        )
    keeps_days = has_surrogates and scrub.profile == "limited_dataset"
    if not keeps_days and not split.test_from.endswith("-01-01"):
        raise RecipeError("split.test_from must be a January 1 (YYYY-01-01), because scrubbing reduces dates to years.")
