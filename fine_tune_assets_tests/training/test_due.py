"""When training starts by itself."""

import pytest

from fine_tune_assets.core.tables import INSTRUCTION_SETS, table_of
from fine_tune_assets.training.due import count_new_corrections, count_new_examples, is_training_due


def _set(*rows: tuple[str, str, bool]) -> object:
    return table_of(
        [
            {
                "example_id": f,
                "split": split,
                "source": "correction" if f.startswith("c/") else "s",
                "task": "t",
                "patient_key": "p",
                "is_general": general,
                "messages": [],
                "fingerprint": f,
            }
            for f, split, general in rows
        ],
        INSTRUCTION_SETS,
    )


def test_only_new_training_examples_from_reports_count() -> None:
    """General data and held-out examples teach nothing new: a GPU must not be spent for them."""
    trained = _set(("a", "train", False))
    current = _set(("a", "train", False), ("b", "train", False), ("c", "test", False), ("g", "train", True))
    assert count_new_examples(current, trained) == 1


@pytest.mark.parametrize(
    ("new", "reason", "due"),
    [
        (19, None, False),
        (20, None, True),
        (0, "is_base_changed", True),
        (0, "is_recipe_changed", True),
        (0, "has_learned_misses", True),
        (0, "is_set_erased", True),
        (0, "has_revoked", True),
        (0, None, False),
    ],
)
def test_training_is_due_by_enough_new_examples_or_a_change_or_what_should_not_have_been_learned(
    new: int, reason: str | None, due: bool
) -> None:
    """One example below the recipe's number nothing starts; an operator's change starts it at once."""
    assert (
        is_training_due(
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
        is due
    )


def test_enough_corrections_make_a_training_due_before_there_are_enough_examples() -> None:
    """Users who correct an answer wait for it to change; reports come in by the thousand."""
    facts = dict.fromkeys(
        ("is_base_changed", "is_recipe_changed", "has_learned_misses", "is_set_erased", "has_revoked"), False
    )
    for new, due in ((39, False), (40, True)):
        counts = {
            "new_examples": new,
            "minimum_new_examples": 500,
            "new_corrections": new,
            "minimum_new_corrections": 40,
        }
        assert is_training_due(**counts, **facts) is due


def test_only_new_corrections_in_the_training_split_count() -> None:
    """One that is held out, or was learned before, changes no answer."""
    trained = _set(("c/1", "train", False))
    current = _set(("c/1", "train", False), ("c/2", "train", False), ("c/3", "test", False), ("r", "train", False))
    assert count_new_corrections(current, trained, "correction") == 1
