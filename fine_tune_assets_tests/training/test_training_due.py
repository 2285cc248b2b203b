"""When a training starts automatically."""

import pytest

from fine_tune_assets.tables.instruction_rows import InstructionRow
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.training.training_due import TrainingDue, count_new_corrections, count_new_examples, decide_due


def _set(*rows: tuple[str, str, bool]) -> object:
    return table_from_rows(
        [
            {
                "example_id": f,
                "split": split,
                "line": "a-line",
                "source": "correction" if f.startswith("c/") else "s",
                "task": "t",
                "subject_key": "p",
                "is_general": general,
                "messages": [],
                "fingerprint": f,
            }
            for f, split, general in rows
        ],
        InstructionRow.SCHEMA,
    )


def test_only_new_training_examples_from_reports_count() -> None:
    """General data and held-out examples do not justify a training."""
    trained = _set(("a", "train", False))
    current = _set(("a", "train", False), ("b", "train", False), ("c", "test", False), ("g", "train", True))
    assert count_new_examples(current, trained) == 1


@pytest.mark.parametrize(
    ("new", "reason", "expected"),
    [
        (19, None, TrainingDue.NOT_DUE),
        (20, None, TrainingDue.AFTER_CANDIDATE),
        (0, "is_base_changed", TrainingDue.NOW),
        (0, "is_recipe_changed", TrainingDue.NOW),
        (20, "has_missed_identifiers", TrainingDue.NOW),
        (0, "has_erased_subjects", TrainingDue.NOW),
        (0, "has_revoked_examples", TrainingDue.NOW),
        (0, None, TrainingDue.NOT_DUE),
    ],
)
def test_training_is_due_by_new_examples_a_change_or_examples_to_remove(
    new: int, reason: str | None, expected: TrainingDue
) -> None:
    """One example below the recipe's number, nothing starts. New examples wait for the current candidate; an operator's change
    does not."""
    assert (
        decide_due(
            new_examples=new,
            minimum_new_examples=20,
            new_corrections=0,
            minimum_new_corrections=40,
            is_base_changed=reason == "is_base_changed",
            is_recipe_changed=reason == "is_recipe_changed",
            has_missed_identifiers=reason == "has_missed_identifiers",
            has_erased_subjects=reason == "has_erased_subjects",
            has_revoked_examples=reason == "has_revoked_examples",
        )
        is expected
    )


def test_enough_corrections_make_a_training_due_without_enough_examples() -> None:
    """Users who correct an answer expect it to change; reports arrive by the thousand."""
    facts = dict.fromkeys(
        (
            "is_base_changed",
            "is_recipe_changed",
            "has_missed_identifiers",
            "has_erased_subjects",
            "has_revoked_examples",
        ),
        False,
    )
    for new, expected in ((39, TrainingDue.NOT_DUE), (40, TrainingDue.AFTER_CANDIDATE)):
        counts = {
            "new_examples": new,
            "minimum_new_examples": 500,
            "new_corrections": new,
            "minimum_new_corrections": 40,
        }
        assert decide_due(**counts, **facts) is expected


def test_only_new_corrections_in_the_training_split_count() -> None:
    """Held-out or already trained corrections change no answer."""
    trained = _set(("c/1", "train", False))
    current = _set(("c/1", "train", False), ("c/2", "train", False), ("c/3", "test", False), ("r", "train", False))
    assert count_new_corrections(current, trained, "correction") == 1
