"""How texts are cut for the page: nothing lost, nothing added, and each piece marked as what it is."""

from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.desk.marked_text import with_slots, with_spans

_TEXT = st.text(alphabet="ab 1.\n[é", max_size=60)


@given(_TEXT, st.lists(st.tuples(st.integers(-5, 70), st.integers(-5, 70), st.sampled_from("xy")), max_size=5))
def test_marks_that_lie_over_each_other_lose_no_text(text: str, spans: list[tuple[int, int, str]]) -> None:
    """A flagged number stands in a flagged sentence."""
    assert "".join(piece.text for piece in with_spans(text, spans)) == text


def test_only_the_kinds_of_identifiers_are_places_of_identifiers() -> None:
    """`[see above]` is text of the report."""
    marked = [piece.text for piece in with_slots("[NAME] came on [DATE], [see above].") if piece.kinds]
    assert marked == ["[NAME]", "[DATE]"]
