"""Characters, pieces and windows: an offset that is off by one leaves the end of a name in the text."""

from typing import Any

import pytest

from fine_tune_assets.embeddings.encoder import bundled_encoder_folder
from fine_tune_assets.phi.tagger import encoding
from fine_tune_assets.phi.tagger.encoding import (
    OVERLAP_PIECES,
    WINDOW_PIECES,
    find_scored_part,
    iterate_windows,
    load_tokenizer,
    tokenize_texts,
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(bundled_encoder_folder())


@pytest.mark.parametrize(
    "text",
    [
        "Anna Collins, MRN-5583920.",
        "ÅSA Éloïse Gründlich\n\n  ĳ ﬁ ß İstanbul",
        "\x00\x1e\u200b𝒜nna 😀 Kim\u00a0Lee\r\nend",
        "",
        " \n ",
    ],
)
def test_pieces_cover_every_letter_at_its_offset(tokenizer: Any, text: str) -> None:
    """The tokenizer lower-cases, decomposes and drops characters; offsets must refer to the original text."""
    (pieces,) = tokenize_texts(tokenizer, [text])
    assert len(pieces.ids) == len(pieces.case_classes) == len(pieces.starts) == len(pieces.ends) == len(pieces.word_ids)
    covered = {i for start, end in zip(pieces.starts, pieces.ends, strict=True) for i in range(start, end)}
    assert {i for i, c in enumerate(text) if c.isalnum()} <= covered
    assert all(0 <= start < end <= len(text) for start, end in zip(pieces.starts, pieces.ends, strict=True))


def test_class_of_a_word_encodes_case_and_line_start(tokenizer: Any) -> None:
    """MiniLM's vocabulary has no capitals: without the class, Rose and rose are the same word."""
    text = "rose Rose ROSE R McRose 12 T4\nRose ."
    (pieces,) = tokenize_texts(tokenizer, [text])
    found = {}
    for start, end, kind in zip(pieces.starts, pieces.ends, pieces.case_classes, strict=True):
        found.setdefault(text[start:end], int(kind))
    first = encoding._FIRST_ON_LINE
    assert found["rose"] == encoding._LOWER + first
    assert (found["Rose"], found["ROSE"], found["R"]) == (encoding._TITLE, encoding._UPPER, encoding._INITIAL)
    assert (found["12"], found["."]) == (encoding._DIGITS, encoding._OTHER)
    on_next_line = list(pieces.starts).index(text.rindex("Rose"))
    assert int(pieces.case_classes[on_next_line]) == encoding._TITLE + first
    assert max(pieces.case_classes) < encoding.CASE_CLASSES


@pytest.mark.parametrize(
    "count", [0, 1, WINDOW_PIECES - 1, WINDOW_PIECES, WINDOW_PIECES + 1, 2 * WINDOW_PIECES - OVERLAP_PIECES, 1000, 4321]
)
def test_every_piece_is_scored_by_exactly_one_window(count: int) -> None:
    """A piece that no window scores may be a missed name."""
    judged: list[int] = []
    for start, stop in iterate_windows(count):
        assert stop - start <= WINDOW_PIECES
        first, last = find_scored_part(start, stop, count)
        assert start <= first < last <= stop
        judged += range(first, last)
    assert judged == list(range(count))


def test_piece_is_scored_with_context_on_both_sides() -> None:
    """At a window's edge a name has no context, so half of the overlap lies in between."""
    for start, stop in iterate_windows(1000):
        first, last = find_scored_part(start, stop, 1000)
        assert first == 0 or first - start >= OVERLAP_PIECES // 2
        assert last == 1000 or stop - last >= OVERLAP_PIECES // 2
