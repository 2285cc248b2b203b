"""Diffs are complete and computed in a bounded number of steps for texts of any length."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.desk.pages.marked_text import diff_words
from fine_tune_assets.desk.sequence_diff import (
    MAX_STEPS,
    BudgetExceededError,
    DiffRun,
    StepBudget,
    diff_sequences,
    find_shortest_edit,
)

_TEXT = st.text(alphabet="ab 1.\n[é", max_size=60)


class CountedWord(str):
    """A word that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        CountedWord.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def long_text(seed: int, words: int = 33_000) -> list[str]:
    """Words of sentences; more than 200,000 characters by default."""
    chance = random.Random(seed)
    return [f"word{chance.randrange(3000)}" + (".\n" if chance.random() < 0.1 else " ") for _ in range(words)]


@given(_TEXT, _TEXT, st.sampled_from([0, 10, 100, MAX_STEPS]))
def test_the_diff_contains_both_texts_completely(before: str, after: str, most_steps: int) -> None:
    """Even if the budget is exceeded."""
    runs = diff_sequences(list(before), list(after), most_steps)
    assert "".join("".join([*run.same, *run.removed]) for run in runs) == before
    assert "".join("".join([*run.same, *run.added]) for run in runs) == after
    assert all(run.same for run in runs[1:])


@pytest.mark.parametrize("most_steps", [100, 10_000])
def test_no_more_words_are_compared_than_the_limit_allows(most_steps: int) -> None:
    """The time grows with the square of the differences; a rewritten long text must not block the server for minutes."""
    for alphabet in ("abcdefgh", "a", "ab"):
        old, new = ([CountedWord(random.Random(s).choice(alphabet)) for _ in range(5_000)] for s in (1, 2))
        CountedWord.compared = 0
        with pytest.raises(BudgetExceededError):
            find_shortest_edit(old, [*new[:2_500], CountedWord("z"), *new], StepBudget(most_steps))
        # A comparison that fails ends a diagonal, and one that was followed is counted at its end.
        assert CountedWord.compared <= most_steps + 7_501


def test_adjacent_changed_words_are_one_change() -> None:
    """Alternating old and new words are unreadable. Line ends stay in place."""
    runs = changed(diff_sequences(["10", " ", "mg", "\n", "now"], ["15", " ", "ml", "\n", "later"]))
    assert [("".join(run.removed), "".join(run.added)) for run in runs] == [("10 mg", "15 ml"), ("now", "later")]


def changed(runs: list[DiffRun]) -> list[DiffRun]:
    return [run for run in runs if run.removed or run.added]


def test_a_long_text_with_many_repairs_is_still_compared_word_by_word() -> None:
    """200,000 characters with a change in every fiftieth word: unchanged sentences serve as anchors."""
    before = long_text(1)
    after = before.copy()
    for place in range(0, len(after), 50):
        after[place] = f"repair{place} "
    runs = changed(diff_sequences(before, after))
    assert sum(map(len, before)) > 200_000
    assert not any(run.is_coarse for run in runs)
    assert len(runs) > 500
    assert max(len(run.removed) for run in runs) < 10


def test_texts_with_nothing_in_common_are_marked_as_coarse() -> None:
    """The reader must know that parts marked as changed can contain unchanged words."""
    assert any(run.is_coarse for run in diff_sequences(long_text(1), long_text(2)))
    assert any(piece.is_coarse for piece in diff_words("".join(long_text(1)), "".join(long_text(2))))


def test_a_part_that_moved_stays_readable() -> None:
    """If two halves are swapped, one is removed and added, the other is unchanged."""
    one, other = long_text(1, 3_000), long_text(2, 3_000)
    runs = changed(diff_sequences(one + other, other + one))
    assert not any(run.is_coarse for run in runs)
    assert len(runs) < 4
