"""How texts are cut for the page: nothing lost, nothing added, and each piece marked as what it is."""

from hypothesis import example, given
from hypothesis import strategies as st

from fine_tune_assets.desk.pages.marked_text import diff_words, mark_diff_spans, mark_placeholders, mark_spans

_TEXT = st.text(alphabet="ab 1.\n[é", max_size=60)


@given(_TEXT, st.lists(st.tuples(st.integers(-5, 70), st.integers(-5, 70), st.sampled_from("xy")), max_size=5))
@example("11", [(-2, -1, "x"), (70, 71, "y")])
def test_marks_that_lie_over_each_other_lose_no_text(text: str, spans: list[tuple[int, int, str]]) -> None:
    """A flagged number can be inside a flagged sentence."""
    assert "".join(piece.text for piece in mark_spans(text, spans)) == text


def test_a_changed_word_is_changed_as_a_whole() -> None:
    """Half of a number must never look unchanged."""
    pieces = diff_words("Dose 10 mg.", "Dose 15 mg.")
    assert [(p.text, p.change) for p in pieces] == [
        ("Dose ", "same"), ("10", "removed"), ("15", "added"), (" mg.", "same"),
    ]  # fmt: skip
    assert [p.text for p in diff_words("38.4 C", "39.4 C")] == ["38.4", "39.4", " C"]


@given(_TEXT, _TEXT, st.lists(st.tuples(st.integers(-5, 70), st.integers(-5, 70), st.sampled_from("xy")), max_size=5))
def test_marks_in_a_diff_change_no_text_and_lie_where_they_lie_in_the_text_after(
    before: str, after: str, spans: list[tuple[int, int, str]]
) -> None:
    """A reviewer who approves by the diff must have seen every character, whatever was removed in front of a mark."""
    pieces = mark_diff_spans(diff_words(before, after), spans)
    assert "".join(p.text for p in pieces if p.change != "added") == before
    shown = [(c, p.kinds) for p in pieces if p.change != "removed" for c in p.text]
    assert shown == [(c, p.kinds) for p in mark_spans(after, spans) for c in p.text]


def test_only_the_kinds_of_identifiers_are_places_of_identifiers() -> None:
    """`[see above]` is text of the report."""
    marked = [piece.text for piece in mark_placeholders("[NAME] came on [DATE], [see above].") if piece.kinds]
    assert marked == ["[NAME]", "[DATE]"]
