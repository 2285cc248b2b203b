"""What a diff shows: both texts whole, words as wholes, and in a bounded number of steps however long the texts are."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.desk.differences import MOST_STEPS, Budget, TooMuchError, _shortest, word_diff

_TEXT = st.text(alphabet="ab 1.\n[é", max_size=60)


class CountedWord(str):
    """A word that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        CountedWord.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def long_text(seed: int, words: int = 33_000) -> str:
    """More than 200,000 characters of sentences."""
    chance = random.Random(seed)
    return "".join(f"word{chance.randrange(3000)}" + (".\n" if chance.random() < 0.1 else " ") for _ in range(words))


@given(_TEXT, _TEXT, st.sampled_from([0, 10, 100, MOST_STEPS]))
def test_a_diff_holds_both_texts_whole(before: str, after: str, most_steps: int) -> None:
    """A reviewer who approves by the diff must have seen every character, also where the steps did not reach."""
    pieces = word_diff(before, after, most_steps).pieces
    assert "".join(p.text for p in pieces if p.change != "added") == before
    assert "".join(p.text for p in pieces if p.change != "removed") == after
    changes = [p.change for p in pieces]
    assert all(one != other for one, other in itertools.pairwise(changes))


def test_a_changed_word_is_changed_as_a_whole() -> None:
    """Half of a number must never look unchanged."""
    diff = word_diff("Dose 10 mg.", "Dose 15 mg.")
    assert [(p.text, p.change) for p in diff.pieces] == [
        ("Dose ", "same"), ("10", "removed"), ("15", "added"), (" mg.", "same"),
    ]  # fmt: skip
    assert not diff.is_coarse


@pytest.mark.parametrize("most_steps", [100, 10_000])
def test_no_more_words_are_compared_than_the_limit_allows(most_steps: int) -> None:
    """Time grows with the square of what differs: a long text that was written anew must not hold a server for minutes."""
    for alphabet in ("abcdefgh", "a", "ab"):
        old, new = ([CountedWord(random.Random(s).choice(alphabet)) for _ in range(5_000)] for s in (1, 2))
        CountedWord.compared = 0
        with pytest.raises(TooMuchError):
            _shortest(old, [*new[:2_500], CountedWord("z"), *new], Budget(most_steps))
        # A comparison that fails ends a diagonal, and one that was followed is counted at its end.
        assert CountedWord.compared <= most_steps + 7_501


def test_a_long_text_with_many_repairs_is_still_compared_word_by_word() -> None:
    """200,000 characters and a repair in every fiftieth word: sentences that are in both hold the comparison together."""
    before = long_text(1)
    words = before.split(" ")
    for place in range(0, len(words), 50):
        words[place] = f"repair{place}"
    diff = word_diff(before, " ".join(words))
    removed = [p.text for p in diff.pieces if p.change == "removed"]
    assert len(before) > 200_000
    assert not diff.is_coarse
    assert len(removed) > 500
    assert max(map(len, removed)) < 100


def test_a_text_that_has_nothing_in_common_is_said_to_be_compared_only_coarsely() -> None:
    """Whoever reads the diff must know that what is marked as changed may be the same."""
    diff = word_diff(long_text(1), long_text(2))
    assert diff.is_coarse
    assert not diff.is_empty


def test_a_part_that_moved_stays_readable() -> None:
    """Two halves changed places: one of them is removed and added, the other is the same."""
    one, other = long_text(1, 3_000), long_text(2, 3_000)
    diff = word_diff(one + other, other + one)
    assert not diff.is_coarse
    assert len(diff.pieces) < 6
