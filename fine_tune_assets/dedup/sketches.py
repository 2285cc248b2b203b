"""What is kept of a report for comparing it: hashes, never its words.

Owns the sketch: a fingerprint of the normalised text, the hashed shingles (every run of a few words) in their order, and
the hashed segments that they start in; and what a sentence encoder hardly sees: numbers, sides and how much is denied. A
sketch depends on its own text alone, so it is made once, stored, and compared with whatever comes later. Which segments are
boilerplate is known only with all reports at hand, and decided elsewhere.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fine_tune_assets.dedup.words import (
    Block,
    Hashes,
    Ints,
    Words,
    block_of,
    hash_of,
    mixed,
    sequence_hashes,
    squeezed,
    words_of,
)

VERSION = "1"
"""Raise it when a sketch of the same text becomes another one: stored sketches are then made again."""
SHINGLE_WORDS = 3
"""Words of a shingle. `dedup.near_threshold` was measured with it (decision 0013)."""
TEXTS_AT_ONCE = 128
"""Half a megabyte of text: what is computed of it stays in the processor's cache."""
_SIDES = ("left", "right", "bilateral", "bilaterally")
_NEGATIONS = ("no", "not", "nor", "never", "none", "without", "negative", "deny", "denies", "denied", "denying")
_SHORT = np.uint64(0xD6E8FEB86659FD93)
Counts = NDArray[np.int32]


@dataclass(frozen=True)
class Sketches:
    """Sketches of several texts, in their order."""

    exact: Hashes
    """(texts, 2), of each text 16 bytes: BLAKE2 of its words without regard to case and white space."""
    shingles: Hashes
    """Of all texts one after the other."""
    segments: Hashes
    """Of all texts one after the other."""
    segment_counts: Counts
    """Of each text."""
    segment_sizes: Counts
    """Of each segment how many shingles start in it."""

    facts: Hashes
    """Of all texts one after the other: words with a digit, and the side of the body, in ascending order, each once."""
    fact_counts: Counts
    """Of each text."""
    negations: Counts
    """Of each text how many words say no."""

    def __len__(self) -> int:
        return len(self.exact)


def sketch(texts: pa.Array) -> Sketches:
    """Sketches of an array of strings without nulls."""
    parts = [_sketch_block(texts.slice(at, TEXTS_AT_ONCE).to_pylist()) for at in range(0, len(texts), TEXTS_AT_ONCE)]
    return joined(parts)


def joined(parts: Sequence[Sketches]) -> Sketches:
    """Several sketches as one, in their order."""
    if not parts:
        return _sketch_block([])
    return Sketches(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Sketches)})


def starts_of(counts: NDArray[Any]) -> Ints:
    """Where each text's part starts; the number of all at the end."""
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)))


def flat_places(starts: Ints, rows: Ints) -> Ints:
    """The places of the parts of `rows`, one part after the other."""
    counts = starts[rows + 1] - starts[rows]
    shifts = starts[rows] - starts_of(counts)[:-1]
    return np.arange(counts.sum(), dtype=np.int64) + np.repeat(shifts, counts)


def _sketch_block(texts: Sequence[str]) -> Sketches:
    block = block_of(texts)
    words = words_of(block)
    facts, fact_counts = _facts(words)
    shingles, is_start = _shingles(words, SHINGLE_WORDS)
    segment_of_text = np.searchsorted(words.segment_starts, words.text_starts)
    starting = starts_of(is_start)
    is_negation = np.isin(words.hashes, _hashes_of(_NEGATIONS))
    return Sketches(
        exact=_exact(texts, block),
        shingles=shingles,
        segments=sequence_hashes(words.hashes, words.segment_starts),
        segment_counts=np.diff(segment_of_text).astype(np.int32),
        segment_sizes=np.diff(starting[words.segment_starts]).astype(np.int32),
        facts=facts,
        fact_counts=fact_counts,
        negations=np.diff(starts_of(is_negation)[words.text_starts]).astype(np.int32),
    )


def _facts(words: Words) -> tuple[Hashes, Counts]:
    is_fact = words.has_digit | np.isin(words.hashes, _hashes_of(_SIDES))
    text_of = np.repeat(np.arange(len(words.text_starts) - 1), np.diff(words.text_starts))[is_fact]
    facts = words.hashes[is_fact]
    order = np.lexsort((facts, text_of))
    facts, text_of = facts[order], text_of[order]
    is_new = np.ones(len(facts), np.bool_)
    is_new[1:] = (facts[1:] != facts[:-1]) | (text_of[1:] != text_of[:-1])
    return facts[is_new], np.bincount(text_of[is_new], minlength=len(words.text_starts) - 1).astype(np.int32)


def side_hashes() -> Hashes:
    """The hashes of the words among `facts` that are a side of the body; all others are numbers."""
    return _hashes_of(_SIDES)


@lru_cache
def _hashes_of(words: tuple[str, ...]) -> Hashes:
    return np.array([hash_of(word) for word in words], dtype=np.uint64)


def _shingles(words: Words, size: int) -> tuple[Hashes, NDArray[np.bool_]]:
    """The hash of every run of `size` words of a text, and which words one starts with. A shorter text is one shingle."""
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
        total += np.where(left > place, here, _SHORT)
    return mixed(total[is_start]), is_start


def _exact(texts: Sequence[str], block: Block) -> Hashes:
    """Of ASCII, which is nearly everything, without a Python object a word; of other texts by Python's own rules."""
    contents = (
        content if text.isascii() else " ".join(text.casefold().split()).encode("utf-8", "surrogatepass")
        for text, content in zip(texts, squeezed(block), strict=True)
    )
    digests = (hashlib.blake2b(content, digest_size=16).digest() for content in contents)
    return np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)
