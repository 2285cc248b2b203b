"""Encodes text for the tagger: word pieces, the case class of each word, and windows over long texts.

MiniLM's vocabulary has neither capitals nor line breaks, but both distinguish names from words. Each piece therefore carries its
word's class in place of BERT's segment id.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW_PIECES = 190
"""Pieces per window, without [CLS] and [SEP]."""
OVERLAP_PIECES = 24
"""Pieces shared by two neighbouring windows: each word is scored in the window in which it is further from the edge."""
_LOWER, _TITLE, _UPPER, _INITIAL, _MIXED, _DIGITS, _CODE, _OTHER = range(8)
_FIRST_ON_LINE = 8
CASE_CLASSES = 16
_CLASS_PATTERNS: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"\d+"), _DIGITS),
    (re.compile(r"(?<!\w)[^\W\d_]*+\d\w*"), _CODE),
    (re.compile(r"[a-zà-öø-ÿ]+"), _LOWER),
    (re.compile(r"[A-ZÀ-ÖØ-Þ][a-zà-öø-ÿ]+"), _TITLE),
    (re.compile(r"[A-ZÀ-ÖØ-Þ]"), _INITIAL),
    (re.compile(r"[A-ZÀ-ÖØ-Þ]+"), _UPPER),
    (re.compile(r"\w+"), _MIXED),
)
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class WordPieces:
    """The word pieces of one text. All arrays have one entry per piece."""

    ids: Ints
    case_classes: Ints
    starts: Ints
    ends: Ints
    word_ids: Ints
    """Index of the word that the piece belongs to, from 0."""


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder's `tokenizer.json`, without truncation and padding."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def tokenize_texts(tokenizer: Any, texts: Sequence[str]) -> Iterator[WordPieces]:
    for text, encoded in zip(texts, tokenizer.encode_batch(list(texts), add_special_tokens=False), strict=True):
        offsets = np.array(encoded.offsets, dtype=np.int64).reshape(-1, 2)
        words = np.array(encoded.word_ids, dtype=np.int64)
        yield WordPieces(
            np.array(encoded.ids, dtype=np.int64),
            _classify_pieces(text, offsets, words),
            offsets[:, 0],
            offsets[:, 1],
            words,
        )


def _classify_pieces(text: str, offsets: Ints, words: Ints) -> Ints:
    classes = np.zeros(len(words), dtype=np.int64)
    if not len(words):
        return classes
    firsts = np.flatnonzero(np.diff(words, prepend=-1))
    stops = np.append(firsts[1:], len(words))
    before = 0
    for first, stop in zip(firsts, stops, strict=True):
        start, end = offsets[first][0], offsets[stop - 1][1]
        starts_line = first == 0 or "\n" in text[before:start]
        classes[first:stop] = _classify_word(text[start:end]) + (_FIRST_ON_LINE if starts_line else 0)
        before = end
    return classes


@lru_cache(maxsize=50_000)
def _classify_word(word: str) -> int:
    return next((number for pattern, number in _CLASS_PATTERNS if pattern.fullmatch(word)), _OTHER)


def iterate_windows(count: int) -> Iterator[tuple[int, int]]:
    """Start and exclusive end of each window over `count` pieces."""
    start = 0
    while start < count:
        stop = min(start + WINDOW_PIECES, count)
        yield start, stop
        if stop == count:
            return
        start = stop - OVERLAP_PIECES


def find_scored_part(start: int, stop: int, count: int) -> tuple[int, int]:
    """The pieces that a window scores: half of each overlap belongs to the neighbour."""
    half = OVERLAP_PIECES // 2
    return (start + half if start else 0), (stop - half if stop < count else count)
