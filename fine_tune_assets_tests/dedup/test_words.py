"""Words and segments as hashes: they must say exactly what plain Python says of the same text."""

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.dedup.words import block_of, hash_of, remaining_texts, sequence_hashes, squeezed, words_of

TEXTS = st.lists(st.text(alphabet="aB7 \n\t.:-\x1c", max_size=24), max_size=12)


@settings(max_examples=200, deadline=None)
@given(texts=TEXTS)
def test_words_are_those_of_a_plain_search(texts: list[str]) -> None:
    words = words_of(block_of(texts))
    plain = [re.findall("[a-z0-9]+", text.lower()) for text in texts]
    assert np.diff(words.text_starts).tolist() == [len(found) for found in plain]
    flat = [word for found in plain for word in found]
    assert [int(h) for h in words.hashes] == [int(hash_of(word)) for word in flat]
    assert words.has_digit.tolist() == ["7" in word for word in flat]


@settings(max_examples=200, deadline=None)
@given(texts=TEXTS)
def test_white_space_is_squeezed_as_python_does(texts: list[str]) -> None:
    """Exact duplicates hang on it."""
    assert [b.decode() for b in squeezed(block_of(texts))] == [" ".join(text.lower().split()) for text in texts]


@settings(max_examples=200, deadline=None)
@given(texts=TEXTS)
def test_segments_end_with_lines_sentences_and_colons(texts: list[str]) -> None:
    words = words_of(block_of(texts))
    plain = [
        part
        for text in texts
        for part in re.split(r"\n|(?<=[.:])(?=[ \t]|$)", text.lower())
        if re.search("[a-z0-9]", part)
    ]
    assert len(words.segment_starts) - 1 == len(plain)
    same = [tuple(re.findall("[a-z0-9]+", part)) for part in plain]
    hashes = sequence_hashes(words.hashes, words.segment_starts).tolist()
    assert len(set(zip(same, hashes, strict=True))) == len(set(same)) == len(set(hashes))


def test_a_text_without_some_of_its_segments_keeps_the_others() -> None:
    texts = ["Header: Knee pain. No fever.\nSigned.", "", "Cough"]
    flags = np.array([True, False, False, True, False])
    assert remaining_texts(texts, flags) == ["knee pain. no fever.", "", "cough"]


def test_signs_beyond_ascii_do_not_join_words() -> None:
    """A no-break space or a dash of a word processor must not make another word of two."""
    plain, typeset = (words_of(block_of([text])).hashes.tolist() for text in ("knee pain 5 fi", "knee\u00a0pain – 5 ﬁ"))
    assert plain == typeset


GOLDEN = [17123216554593335078, 7147166882933185492]


def test_hashes_are_the_same_for_ever() -> None:
    """They are stored: another numpy must not read them otherwise."""
    assert [int(hash_of(word)) for word in ("knee", "5")] == GOLDEN
