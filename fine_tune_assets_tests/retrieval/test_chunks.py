"""Chunks never cross a heading, never separate a row from its header, and stay within the limit."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.retrieval.chunks import chunk_document
from fine_tune_assets.retrieval.documents import Block, Document, DocumentMetadata


def count(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def document(*blocks: Block) -> Document:
    return Document("a.md", "markdown", DocumentMetadata("A", "1", ("everyone",), None, None), blocks)


def texts(*blocks: Block, limit: int = 6) -> list[str]:
    return [chunk.text for chunk in chunk_document(document(*blocks), limit, count)]


def test_a_section_that_fits_is_one_chunk_and_sections_are_never_joined() -> None:
    chunk_texts = texts(Block("one two", ("A",)), Block("three four", ("A",)), Block("five", ("A", "B")))
    assert chunk_texts == ["one two\nthree four", "five"]


def test_a_long_paragraph_is_cut_at_sentences() -> None:
    assert texts(Block("One two three four. Five six seven. Eight nine.")) == [
        "One two three four.",
        "Five six seven. Eight nine.",
    ]


def test_rows_keep_their_header() -> None:
    rows = [Block(f"n: {number}; m: x", (), "n | m") for number in range(4)]
    assert texts(*rows, limit=11) == ["n | m\nn: 0; m: x\nn: 1; m: x", "n | m\nn: 2; m: x\nn: 3; m: x"]


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab .\n", max_size=300), st.integers(min_value=2, max_value=9))
def test_no_word_is_lost_and_no_chunk_is_too_long(text: str, limit: int) -> None:
    chunks = chunk_document(document(Block(text)), limit, count)
    assert [word for chunk in chunks for word in chunk.text.split()] == [
        part for word in text.split() for part in (word[at : at + 40] for at in range(0, len(word), 40))
    ] or any(len(word) > 40 for word in text.split())
    assert all(chunk.tokens <= limit for chunk in chunks)


def test_the_id_of_an_unchanged_chunk_is_stable() -> None:
    """A citation must survive changes to other parts of its document."""
    before = chunk_document(document(Block("one two three", ("A",)), Block("four", ("B",))), 6, count)
    after = chunk_document(document(Block("nought", ("A",)), Block("four", ("B",))), 6, count)
    assert before[1].chunk_id == after[1].chunk_id
    assert before[0].chunk_id != after[0].chunk_id


def test_repeated_text_gives_two_chunk_ids() -> None:
    chunks = chunk_document(document(Block("same", ("A",)), Block("other", ("B",)), Block("same", ("A",))), 6, count)
    assert len({chunk.chunk_id for chunk in chunks}) == 3


@pytest.mark.parametrize("limit", [1, 2])
def test_a_header_that_fills_a_chunk_keeps_its_rows(limit: int) -> None:
    assert texts(Block("x", (), "a b c"), Block("y", (), "a b c"), limit=limit) == ["a b c\nx", "a b c\ny"]
