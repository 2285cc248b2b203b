"""Computes sketches of reports: hashes for comparison, never words.

A sketch has a fingerprint of the normalized text, hashed shingles (runs of a few words) in order, the hashed segments that they
start in, and what sentence encoders hardly see: numbers, sides and negations. It depends only on its text, so it is computed once
and stored. boilerplate.py decides which segments are boilerplate, which requires all reports.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fine_tune_assets.dedup.word_hashes import (
    Block,
    Hashes,
    Ints,
    Words,
    build_block,
    collapse_whitespace,
    hash_sequences,
    hash_word,
    mix_hashes,
    split_words,
)

VERSION = "1"
"""Raise it when sketches of the same text change: stored sketches are then recomputed."""
SHINGLE_WORDS = 3
"""Words per shingle. `dedup.near_threshold` was measured with it (decision 0005)."""
BLOCK_TEXTS = 128
"""Half a megabyte of text, so that results stay in the processor cache."""
_SIDES = ("left", "right", "bilateral", "bilaterally")
_NEGATIONS = ("no", "not", "nor", "never", "none", "without", "negative", "deny", "denies", "denied", "denying")
_PADDING_HASH = np.uint64(0xD6E8FEB86659FD93)
Counts = NDArray[np.int32]


@dataclass(frozen=True)
class Sketches:
    """Sketches of several texts, in order."""

    exact: Hashes
    """(texts, 2): 16 bytes of BLAKE2 per text, over its words without case and white space."""
    shingles: Hashes
    """All texts concatenated."""
    segments: Hashes
    """All texts concatenated."""
    segment_counts: Counts
    """Per text."""
    segment_sizes: Counts
    """Number of shingles that start in each segment."""

    facts: Hashes
    """All texts concatenated: distinct ascending hashes of words with a digit and of sides of the body."""
    fact_counts: Counts
    """Per text."""
    negations: Counts
    """Number of negation words per text."""

    def __len__(self) -> int:
        return len(self.exact)


def sketch_texts(texts: pa.Array) -> Sketches:
    """Sketch an array of strings without nulls."""
    parts = [_sketch_block(texts.slice(at, BLOCK_TEXTS).to_pylist()) for at in range(0, len(texts), BLOCK_TEXTS)]
    return concatenate_sketches(parts)


def concatenate_sketches(parts: Sequence[Sketches]) -> Sketches:
    if not parts:
        return _sketch_block([])
    return Sketches(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Sketches)})


def offsets_from_counts(counts: NDArray[Any]) -> Ints:
    """Start of each text's part, and the total at the end."""
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)))


def flat_positions(starts: Ints, rows: Ints) -> Ints:
    """Positions of the parts of `rows`, concatenated."""
    counts = starts[rows + 1] - starts[rows]
    shifts = starts[rows] - offsets_from_counts(counts)[:-1]
    return np.arange(counts.sum(), dtype=np.int64) + np.repeat(shifts, counts)


def _sketch_block(texts: Sequence[str]) -> Sketches:
    block = build_block(texts)
    words = split_words(block)
    facts, fact_counts = _facts(words)
    shingles, is_start = _shingles(words, SHINGLE_WORDS)
    segment_of_text = np.searchsorted(words.segment_starts, words.text_starts)
    starting = offsets_from_counts(is_start)
    is_negation = np.isin(words.hashes, _hash_words(_NEGATIONS))
    return Sketches(
        exact=_exact_digests(texts, block),
        shingles=shingles,
        segments=hash_sequences(words.hashes, words.segment_starts),
        segment_counts=np.diff(segment_of_text).astype(np.int32),
        segment_sizes=np.diff(starting[words.segment_starts]).astype(np.int32),
        facts=facts,
        fact_counts=fact_counts,
        negations=np.diff(offsets_from_counts(is_negation)[words.text_starts]).astype(np.int32),
    )


def _facts(words: Words) -> tuple[Hashes, Counts]:
    is_fact = words.has_digit | np.isin(words.hashes, _hash_words(_SIDES))
    text_of = np.repeat(np.arange(len(words.text_starts) - 1), np.diff(words.text_starts))[is_fact]
    facts = words.hashes[is_fact]
    order = np.lexsort((facts, text_of))
    facts, text_of = facts[order], text_of[order]
    is_new = np.ones(len(facts), np.bool_)
    is_new[1:] = (facts[1:] != facts[:-1]) | (text_of[1:] != text_of[:-1])
    return facts[is_new], np.bincount(text_of[is_new], minlength=len(words.text_starts) - 1).astype(np.int32)


def side_hashes() -> Hashes:
    """Hashes of the words among `facts` that are a side of the body; all others are numbers."""
    return _hash_words(_SIDES)


@lru_cache
def _hash_words(words: tuple[str, ...]) -> Hashes:
    return np.array([hash_word(word) for word in words], dtype=np.uint64)


def _shingles(words: Words, size: int) -> tuple[Hashes, NDArray[np.bool_]]:
    """Hash every run of `size` words of a text; also flags the start words. A shorter text is one shingle."""
    count, starts = len(words.hashes), words.text_starts
    text_words = np.diff(starts)
    left = np.repeat(starts[1:], text_words) - np.arange(count)
    is_short_first = np.zeros(count, np.bool_)
    is_short_first[starts[:-1][(text_words > 0) & (text_words < size)]] = True
    is_start = (left >= size) | is_short_first
    padded = np.concatenate((words.hashes, np.zeros(size, np.uint64)))
    total = np.zeros(count, np.uint64)
    factor = 1
    for place in range(size):
        factor = factor * 0x9FB21C651E98DF25 % (1 << 64)
        here = padded[place : place + count] * np.uint64(factor)
        total += np.where(left > place, here, _PADDING_HASH)
    return mix_hashes(total[is_start]), is_start


def _exact_digests(texts: Sequence[str], block: Block) -> Hashes:
    """ASCII texts, which are nearly all, need no Python object per word; other texts follow Python's rules."""
    contents = (
        content if text.isascii() else " ".join(text.casefold().split()).encode("utf-8", "surrogatepass")
        for text, content in zip(texts, collapse_whitespace(block), strict=True)
    )
    digests = (hashlib.blake2b(content, digest_size=16).digest() for content in contents)
    return np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)
