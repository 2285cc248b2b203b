"""How texts are cut for the page: nothing lost, nothing added, and each piece marked as what it is."""

from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.desk.marked_text import with_slots, with_spans, word_diff

_TEXT = st.text(alphabet="ab 1.\n[é", max_size=60)


@given(_TEXT, _TEXT)
def test_a_diff_holds_both_texts_whole(before: str, after: str) -> None:
    """A reviewer who approves by the diff must have seen every character."""
    pieces = word_diff(before, after)
    assert "".join(p.text for p in pieces if p.change != "added") == before
    assert "".join(p.text for p in pieces if p.change != "removed") == after


@given(_TEXT, st.lists(st.tuples(st.integers(-5, 70), st.integers(-5, 70), st.sampled_from("xy")), max_size=5))
def test_marks_that_lie_over_each_other_lose_no_text(text: str, spans: list[tuple[int, int, str]]) -> None:
    """A flagged number stands in a flagged sentence."""
    assert "".join(piece.text for piece in with_spans(text, spans)) == text


def test_a_changed_word_is_changed_as_a_whole() -> None:
    """Half of a number must never look unchanged."""
    pieces = word_diff("Dose 10 mg.", "Dose 15 mg.")
    assert [(p.text, p.change) for p in pieces] == [
        ("Dose ", "same"), ("10", "removed"), ("15", "added"), (" mg.", "same"),
    ]  # fmt: skip


def test_only_the_kinds_of_identifiers_are_places_of_identifiers() -> None:
    """`[see above]` is text of the report."""
    marked = [piece.text for piece in with_slots("[NAME] came on [DATE], [see above].") if piece.kinds]
    assert marked == ["[NAME]", "[DATE]"]
