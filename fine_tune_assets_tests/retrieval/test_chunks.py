"""Where a document is cut: never across a heading, never a row without its header, never above the limit."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.retrieval.chunks import chunks_of
from fine_tune_assets.retrieval.documents import Block, Document, Facts


def count(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def document(*blocks: Block) -> Document:
    return Document("a.md", "markdown", Facts("A", "1", ("everyone",), None, None), blocks)


def texts(*blocks: Block, limit: int = 6) -> list[str]:
    return [chunk.text for chunk in chunks_of(document(*blocks), limit, count)]


def test_a_section_is_one_chunk_if_it_fits_and_two_never_are() -> None:
    found = texts(Block("one two", ("A",)), Block("three four", ("A",)), Block("five", ("A", "B")))
    assert found == ["one two\nthree four", "five"]


def test_a_long_paragraph_is_cut_at_sentences() -> None:
    assert texts(Block("One two three four. Five six seven. Eight nine.")) == [
        "One two three four.",
        "Five six seven. Eight nine.",
    ]


def test_rows_go_with_their_header() -> None:
    rows = [Block(f"n: {number}; m: x", (), "n | m") for number in range(4)]
    assert texts(*rows, limit=11) == ["n | m\nn: 0; m: x\nn: 1; m: x", "n | m\nn: 2; m: x\nn: 3; m: x"]


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab .\n", max_size=300), st.integers(min_value=2, max_value=9))
def test_nothing_is_lost_and_nothing_is_too_long(text: str, limit: int) -> None:
    found = chunks_of(document(Block(text)), limit, count)
    assert [word for chunk in found for word in chunk.text.split()] == [
        part for word in text.split() for part in (word[at : at + 40] for at in range(0, len(word), 40))
    ] or any(len(word) > 40 for word in text.split())
    assert all(chunk.tokens <= limit for chunk in found)


def test_an_id_stays_while_its_chunk_does() -> None:
    """What cites a passage still finds it after another part of its document changed."""
    before = chunks_of(document(Block("one two three", ("A",)), Block("four", ("B",))), 6, count)
    after = chunks_of(document(Block("nought", ("A",)), Block("four", ("B",))), 6, count)
    assert before[1].chunk_id == after[1].chunk_id
    assert before[0].chunk_id != after[0].chunk_id


def test_the_same_words_twice_are_two_chunks() -> None:
    found = chunks_of(document(Block("same", ("A",)), Block("other", ("B",)), Block("same", ("A",))), 6, count)
    assert len({chunk.chunk_id for chunk in found}) == 3


@pytest.mark.parametrize("limit", [1, 2])
def test_a_header_that_fills_a_chunk_still_has_its_rows(limit: int) -> None:
    assert texts(Block("x", (), "a b c"), Block("y", (), "a b c"), limit=limit) == ["a b c\nx", "a b c\ny"]
