"""Words and segments as hashes agree with a plain Python implementation."""

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.dedup.word_hashes import (
    build_block,
    collapse_whitespace,
    hash_sequences,
    hash_word,
    remove_segments,
    split_words,
)

TEXTS = st.lists(st.text(alphabet="aB7 \n\t.:-\x1c", max_size=24), max_size=12)


@settings(max_examples=200, deadline=None)
@given(texts=TEXTS)
def test_words_equal_a_plain_search(texts: list[str]) -> None:
    words = split_words(build_block(texts))
    plain = [re.findall("[a-z0-9]+", text.lower()) for text in texts]
    assert np.diff(words.text_starts).tolist() == [len(words_of_text) for words_of_text in plain]
    flat = [word for words_of_text in plain for word in words_of_text]
    assert [int(h) for h in words.hashes] == [int(hash_word(word)) for word in flat]
    assert words.has_digit.tolist() == ["7" in word for word in flat]


@settings(max_examples=200, deadline=None)
@given(texts=TEXTS)
def test_white_space_is_collapsed_as_in_python(texts: list[str]) -> None:
    """Exact duplicates depend on it."""
    assert [b.decode() for b in collapse_whitespace(build_block(texts))] == [
        " ".join(text.lower().split()) for text in texts
    ]


@settings(max_examples=200, deadline=None)
@given(texts=TEXTS)
def test_segments_end_at_lines_sentences_and_colons(texts: list[str]) -> None:
    words = split_words(build_block(texts))
    plain = [
        part
        for text in texts
        for part in re.split(r"\n|(?<=[.:])(?=[ \t]|$)", text.lower())
        if re.search("[a-z0-9]", part)
    ]
    assert len(words.segment_starts) - 1 == len(plain)
    same = [tuple(re.findall("[a-z0-9]+", part)) for part in plain]
    hashes = hash_sequences(words.hashes, words.segment_starts).tolist()
    assert len(set(zip(same, hashes, strict=True))) == len(set(same)) == len(set(hashes))


def test_removing_segments_keeps_the_others() -> None:
    texts = ["Header: Knee pain. No fever.\nSigned.", "", "Cough"]
    flags = np.array([True, False, False, True, False])
    assert remove_segments(texts, flags) == ["knee pain. no fever.", "", "cough"]


def test_non_ascii_characters_do_not_join_words() -> None:
    """A word processor's no-break space or dash must not join two words."""
    plain, typeset = (
        split_words(build_block([text])).hashes.tolist() for text in ("knee pain 5 fi", "knee\u00a0pain – 5 ﬁ")
    )
    assert plain == typeset


GOLDEN = [17123216554593335078, 7147166882933185492]


def test_hashes_are_stable() -> None:
    """They are stored, so a numpy update must not change them."""
    assert [int(hash_word(word)) for word in ("knee", "5")] == GOLDEN
