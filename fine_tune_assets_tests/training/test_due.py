"""When training starts by itself."""

import pytest

from fine_tune_assets.tables.instructions import InstructionRow
from fine_tune_assets.tables.records import table_of
from fine_tune_assets.training.decisions import Due, count_new_corrections, count_new_examples, due


def _set(*rows: tuple[str, str, bool]) -> object:
    return table_of(
        [
            {
                "example_id": f,
                "split": split,
                "line": "a-line",
                "source": "correction" if f.startswith("c/") else "s",
                "task": "t",
                "patient_key": "p",
                "is_general": general,
                "messages": [],
                "fingerprint": f,
            }
            for f, split, general in rows
        ],
        InstructionRow.SCHEMA,
    )


def test_only_new_training_examples_from_reports_count() -> None:
    """General data and held-out examples teach nothing new: a GPU must not be spent for them."""
    trained = _set(("a", "train", False))
    current = _set(("a", "train", False), ("b", "train", False), ("c", "test", False), ("g", "train", True))
    assert count_new_examples(current, trained) == 1


@pytest.mark.parametrize(
    ("new", "reason", "expected"),
    [
        (19, None, Due.NOT),
        (20, None, Due.NEXT),
        (0, "is_base_changed", Due.NOW),
        (0, "is_recipe_changed", Due.NOW),
        (20, "has_learned_misses", Due.NOW),
        (0, "is_set_erased", Due.NOW),
        (0, "has_revoked", Due.NOW),
        (0, None, Due.NOT),
    ],
)
def test_training_is_due_by_enough_new_examples_or_a_change_or_what_should_not_have_been_learned(
    new: int, reason: str | None, expected: Due
) -> None:
    """One example below the recipe's number nothing starts; what is only new waits for the candidate before it, and an
    operator's change for nothing."""
    assert (
        due(
            new_examples=new,
            minimum_new_examples=20,
            new_corrections=0,
            minimum_new_corrections=40,
            is_base_changed=reason == "is_base_changed",
            is_recipe_changed=reason == "is_recipe_changed",
            has_learned_misses=reason == "has_learned_misses",
            is_set_erased=reason == "is_set_erased",
            has_revoked=reason == "has_revoked",
        )
        is expected
    )


def test_enough_corrections_make_a_training_due_before_there_are_enough_examples() -> None:
    """Users who correct an answer wait for it to change; reports come in by the thousand."""
    facts = dict.fromkeys(
        ("is_base_changed", "is_recipe_changed", "has_learned_misses", "is_set_erased", "has_revoked"), False
    )
    for new, expected in ((39, Due.NOT), (40, Due.NEXT)):
        counts = {
            "new_examples": new,
            "minimum_new_examples": 500,
            "new_corrections": new,
            "minimum_new_corrections": 40,
        }
        assert due(**counts, **facts) is expected


def test_only_new_corrections_in_the_training_split_count() -> None:
    """One that is held out, or was learned before, changes no answer."""
    trained = _set(("c/1", "train", False))
    current = _set(("c/1", "train", False), ("c/2", "train", False), ("c/3", "test", False), ("r", "train", False))
    assert count_new_corrections(current, trained, "correction") == 1
