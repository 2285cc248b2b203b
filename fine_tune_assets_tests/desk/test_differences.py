"""What differs between two texts, found whole and in a bounded number of steps, however long they are."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.desk.differences import MOST_STEPS, Budget, Run, TooMuchError, compare, shortest_way
from fine_tune_assets.desk.pages.marked_text import word_diff

_TEXT = st.text(alphabet="ab 1.\n[é", max_size=60)


class CountedWord(str):
    """A word that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        CountedWord.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def long_text(seed: int, words: int = 33_000) -> list[str]:
    """Words of sentences; by itself more than 200,000 characters."""
    chance = random.Random(seed)
    return [f"word{chance.randrange(3000)}" + (".\n" if chance.random() < 0.1 else " ") for _ in range(words)]


@given(_TEXT, _TEXT, st.sampled_from([0, 10, 100, MOST_STEPS]))
def test_both_texts_are_in_the_difference_whole(before: str, after: str, most_steps: int) -> None:
    """Also where the steps did not reach."""
    runs = compare(list(before), list(after), most_steps)
    assert "".join("".join([*run.same, *run.removed]) for run in runs) == before
    assert "".join("".join([*run.same, *run.added]) for run in runs) == after
    assert all(run.same for run in runs[1:])


@pytest.mark.parametrize("most_steps", [100, 10_000])
def test_no_more_words_are_compared_than_the_limit_allows(most_steps: int) -> None:
    """Time grows with the square of what differs: a long text that was written anew must not hold a server for minutes."""
    for alphabet in ("abcdefgh", "a", "ab"):
        old, new = ([CountedWord(random.Random(s).choice(alphabet)) for _ in range(5_000)] for s in (1, 2))
        CountedWord.compared = 0
        with pytest.raises(TooMuchError):
            shortest_way(old, [*new[:2_500], CountedWord("z"), *new], Budget(most_steps))
        # A comparison that fails ends a diagonal, and one that was followed is counted at its end.
        assert CountedWord.compared <= most_steps + 7_501


def test_words_that_were_changed_side_by_side_are_one_change() -> None:
    """Old and new word in turns can't be read. A line's end stays where it is."""
    runs = changed(compare(["10", " ", "mg", "\n", "now"], ["15", " ", "ml", "\n", "later"]))
    assert [("".join(run.removed), "".join(run.added)) for run in runs] == [("10 mg", "15 ml"), ("now", "later")]


def changed(runs: list[Run]) -> list[Run]:
    return [run for run in runs if run.removed or run.added]


def test_a_long_text_with_many_repairs_is_still_compared_word_by_word() -> None:
    """200,000 characters and a repair in every fiftieth word: sentences that are in both hold the comparison together."""
    before = long_text(1)
    after = before.copy()
    for place in range(0, len(after), 50):
        after[place] = f"repair{place} "
    runs = changed(compare(before, after))
    assert sum(map(len, before)) > 200_000
    assert not any(run.is_whole for run in runs)
    assert len(runs) > 500
    assert max(len(run.removed) for run in runs) < 10


def test_texts_with_nothing_in_common_are_said_to_be_compared_as_a_whole() -> None:
    """Whoever reads the diff must know that what is marked as changed may be the same."""
    assert any(run.is_whole for run in compare(long_text(1), long_text(2)))
    assert any(piece.is_whole for piece in word_diff("".join(long_text(1)), "".join(long_text(2))))


def test_a_part_that_moved_stays_readable() -> None:
    """Two halves changed places: one of them is removed and added, the other is the same."""
    one, other = long_text(1, 3_000), long_text(2, 3_000)
    runs = changed(compare(one + other, other + one))
    assert not any(run.is_whole for run in runs)
    assert len(runs) < 4
