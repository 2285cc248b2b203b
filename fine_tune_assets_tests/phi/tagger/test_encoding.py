"""Characters, pieces and windows: an offset that is off by one leaves the end of a name in the text."""

from typing import Any

import pytest

from fine_tune_assets.embeddings.encoder import bundled_folder
from fine_tune_assets.phi.tagger import encoding
from fine_tune_assets.phi.tagger.encoding import OVERLAP, WINDOW, judged_part, load_tokenizer, split_texts, windows


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(bundled_folder())


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
def test_pieces_cover_every_letter_at_its_own_place(tokenizer: Any, text: str) -> None:
    """The tokenizer lower-cases, decomposes and drops characters; offsets must still be those of the text as given."""
    (pieces,) = split_texts(tokenizer, [text])
    assert len(pieces.ids) == len(pieces.classes) == len(pieces.starts) == len(pieces.ends) == len(pieces.words)
    covered = {i for start, end in zip(pieces.starts, pieces.ends, strict=True) for i in range(start, end)}
    assert {i for i, c in enumerate(text) if c.isalnum()} <= covered
    assert all(0 <= start < end <= len(text) for start, end in zip(pieces.starts, pieces.ends, strict=True))


def test_the_class_of_a_word_tells_its_case_and_that_it_begins_a_line(tokenizer: Any) -> None:
    """MiniLM's vocabulary knows no capitals: without the class, Rose and rose are the same word."""
    text = "rose Rose ROSE R McRose 12 T4\nRose ."
    (pieces,) = split_texts(tokenizer, [text])
    found = {}
    for start, end, kind in zip(pieces.starts, pieces.ends, pieces.classes, strict=True):
        found.setdefault(text[start:end], int(kind))
    first = encoding._FIRST_ON_LINE
    assert found["rose"] == encoding._LOWER + first
    assert (found["Rose"], found["ROSE"], found["R"]) == (encoding._TITLE, encoding._UPPER, encoding._INITIAL)
    assert (found["12"], found["."]) == (encoding._DIGITS, encoding._OTHER)
    on_next_line = list(pieces.starts).index(text.rindex("Rose"))
    assert int(pieces.classes[on_next_line]) == encoding._TITLE + first
    assert max(pieces.classes) < encoding.CASE_CLASSES


@pytest.mark.parametrize("count", [0, 1, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW - OVERLAP, 1000, 4321])
def test_every_piece_is_judged_by_exactly_one_window(count: int) -> None:
    """A piece between two windows that neither judges is a name that nobody looks at."""
    judged: list[int] = []
    for start, stop in windows(count):
        assert stop - start <= WINDOW
        first, last = judged_part(start, stop, count)
        assert start <= first < last <= stop
        judged += range(first, last)
    assert judged == list(range(count))


def test_a_piece_is_judged_with_words_on_both_sides() -> None:
    """At a window's edge a name has no context: half of the overlap stands between."""
    for start, stop in windows(1000):
        first, last = judged_part(start, stop, 1000)
        assert first == 0 or first - start >= OVERLAP // 2
        assert last == 1000 or stop - last >= OVERLAP // 2
