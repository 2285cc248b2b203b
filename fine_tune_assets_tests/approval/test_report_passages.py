"""Passages of a report: verbatim, complete, and short enough for a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.approval.report_passages import split_passages

GUIDELINE = """1 Dose

Adults take one tablet daily. Children take half a tablet.

2 Storage

Keep it dry.

Keep it below 25 degrees.

3 Contact"""


@pytest.mark.parametrize(
    ("limit", "lengths"),
    [(100, [24]), (20, [17, 7]), (12, [12, 12]), (10, [10, 10])],
)
def test_paragraphs_stay_whole_with_their_headings(limit: int, lengths: list[int]) -> None:
    """A model can't answer from half a paragraph, nor from a heading without its text."""
    passages = split_passages(GUIDELINE, limit)
    assert [len(passage.split()) for passage in passages] == lengths
    assert all(passage in GUIDELINE for passage in passages)
    assert not any(passage.endswith("2 Storage") for passage in passages)


def test_a_long_paragraph_is_cut_at_its_lines_and_sentences() -> None:
    text = "First line of a list\nSecond line. It has two sentences! And a third one"
    assert split_passages(text, 6) == ["First line of a list", "Second line. It has two sentences!", "And a third one"]


def test_long_runs_of_spaces_take_no_time() -> None:
    """Text of a PDF file has them. Time in proportion to their square would stop the asset."""
    run = " " * 1_000_000
    assert split_passages(f"Dose{run}\n{run}daily{run}\n\nStorage", 2) == [f"Dose{run}\n{run}daily"]


@given(
    st.text(alphabet=st.sampled_from("aB1 .?!\n\t#:é"), max_size=300),
    st.integers(min_value=1, max_value=40),
)
def test_passages_are_short_verbatim_and_in_order(text: str, limit: int) -> None:
    """The desk highlights sources in the report, which works only for verbatim parts."""
    place = 0
    for passage in split_passages(text, limit):
        assert 0 < len(passage.split()) <= limit
        place = text.index(passage, place) + len(passage)
