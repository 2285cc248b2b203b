"""Text as the tagger sees it: word pieces, the case class of each word, and windows of a long text.

Owns the bridge between characters and pieces. MiniLM's vocabulary has no capitals and no line ends; both tell names from
words, so each piece carries the class of its word in the place where BERT has its two segment ids.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW = 190
"""Pieces of a window, without [CLS] and [SEP]."""
OVERLAP = 24
"""Pieces that two neighbouring windows share: a word is judged in the window in which it stands further inside."""
_LOWER, _TITLE, _UPPER, _INITIAL, _MIXED, _DIGITS, _CODE, _OTHER = range(8)
_FIRST_ON_LINE = 8
CASE_CLASSES = 16
_CLASSES: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"\d+"), _DIGITS),
    (re.compile(r"[^\W\d_]*\d\w*"), _CODE),
    (re.compile(r"[a-zà-öø-ÿ]+"), _LOWER),
    (re.compile(r"[A-ZÀ-ÖØ-Þ][a-zà-öø-ÿ]+"), _TITLE),
    (re.compile(r"[A-ZÀ-ÖØ-Þ]"), _INITIAL),
    (re.compile(r"[A-ZÀ-ÖØ-Þ]+"), _UPPER),
    (re.compile(r"\w+"), _MIXED),
)
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Pieces:
    """The word pieces of one text. All arrays have one entry a piece."""

    ids: Ints
    classes: Ints
    starts: Ints
    ends: Ints
    words: Ints
    """Number of the word that the piece belongs to, from 0."""


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder's `tokenizer.json`, without its limits."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def split_texts(tokenizer: Any, texts: Sequence[str]) -> Iterator[Pieces]:
    for text, encoded in zip(texts, tokenizer.encode_batch(list(texts), add_special_tokens=False), strict=True):
        offsets = np.array(encoded.offsets, dtype=np.int64).reshape(-1, 2)
        words = np.array(encoded.word_ids, dtype=np.int64)
        yield Pieces(
            np.array(encoded.ids, dtype=np.int64), _classes(text, offsets, words), offsets[:, 0], offsets[:, 1], words
        )


def _classes(text: str, offsets: Ints, words: Ints) -> Ints:
    classes = np.zeros(len(words), dtype=np.int64)
    if not len(words):
        return classes
    firsts = np.flatnonzero(np.diff(words, prepend=-1))
    stops = np.append(firsts[1:], len(words))
    before = 0
    for first, stop in zip(firsts, stops, strict=True):
        start, end = offsets[first][0], offsets[stop - 1][1]
        starts_line = first == 0 or "\n" in text[before:start]
        classes[first:stop] = _class_of(text[start:end]) + (_FIRST_ON_LINE if starts_line else 0)
        before = end
    return classes


@lru_cache(maxsize=50_000)
def _class_of(word: str) -> int:
    return next((number for pattern, number in _CLASSES if pattern.fullmatch(word)), _OTHER)


def windows(count: int) -> Iterator[tuple[int, int]]:
    """First and one past last piece of each window over `count` pieces."""
    start = 0
    while start < count:
        stop = min(start + WINDOW, count)
        yield start, stop
        if stop == count:
            return
        start = stop - OVERLAP


def judged_part(start: int, stop: int, count: int) -> tuple[int, int]:
    """The pieces of a window that it decides about: half of what it shares with each neighbour is the neighbour's."""
    half = OVERLAP // 2
    return (start + half if start else 0), (stop - half if stop < count else count)
