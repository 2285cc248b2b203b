"""Represents texts as arrays of word hashes, without a Python object per word.

A word is a run of letters and digits, in lower case. A segment ends at a line end, a sentence end, or a heading's colon. The
hashes are stored, so they are the same on every machine and with every numpy version.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
_BASE = 0x9E3779B97F4A7C15 | 1
"""Odd, so that it has an inverse modulo 2^64: a word's hash is a difference of two running sums, shifted to position 0."""
_NON_WORD = re.compile(r"[^\w]|_")
_LINE_END, _SPACE = ord("\n"), ord(" ")


def _flags(members: Sequence[int]) -> bytes:
    """Table for `bytes.translate`, which is several times as fast as indexing an array by bytes."""
    return bytes(byte in members for byte in range(256))


_IN_WORD = _flags([*b"abcdefghijklmnopqrstuvwxyz0123456789", *range(128, 256)])
_DIGIT = _flags(b"0123456789")
_ENDS_SEGMENT = _flags(b".!?:\n")
_WHITESPACE = b"\t\n\r\x0b\x0c\x1c\x1d\x1e\x1f "
"""The ASCII characters at which `str.split` splits."""
_IS_WHITESPACE = _flags(_WHITESPACE)
_WHITESPACE_TO_SPACE = bytes.maketrans(_WHITESPACE, b" " * len(_WHITESPACE))


@dataclass(frozen=True)
class Block:
    """Lower-case texts as bytes: line end, first text, line end, second text, …, line end."""

    content: bytes
    starts: Ints
    """First byte of each text, and the total number of bytes at the end."""

    def flags(self, table: bytes) -> Flags:
        return np.frombuffer(self.content.translate(table), dtype=np.bool_)


@dataclass(frozen=True)
class Words:
    """The words of several texts, concatenated."""

    hashes: Hashes
    """Per word."""
    text_starts: Ints
    """First word of each text, and the total number of words at the end."""
    segment_starts: Ints
    """First word of each segment, and the total number of words at the end. No segment is empty."""
    has_digit: Flags
    """Per word."""
    first_bytes: Ints
    """Start of each word in the block."""


def build_block(texts: Sequence[str]) -> Block:
    lowered = [(text if text.isascii() else _normalize(text)).lower().encode("utf-8", "replace") for text in texts]
    starts = np.cumsum([1, *(len(text) + 1 for text in lowered)], dtype=np.int64)
    return Block(b"\n".join([b"", *lowered, b""]) if lowered else b"\n", starts)


def split_words(block: Block) -> Words:
    edges = np.flatnonzero(np.diff(block.flags(_IN_WORD).view(np.int8))) + 1
    firsts, ends = edges[0::2], edges[1::2]
    text_starts = np.searchsorted(firsts, block.starts).astype(np.int64)
    content = np.frombuffer(block.content, dtype=np.uint8)
    has_digit = np.zeros(len(firsts), np.bool_)
    has_digit[np.searchsorted(firsts, np.flatnonzero(block.flags(_DIGIT)), side="right") - 1] = True
    return Words(
        # No byte of a word is 0; otherwise a word and the same word after a 0 would have the same hash.
        hashes=mix_hashes(_hash_runs(content.astype(np.uint64), firsts, ends)),
        text_starts=text_starts,
        segment_starts=_segment_starts(block, content, firsts, text_starts),
        has_digit=has_digit,
        first_bytes=firsts,
    )


def hash_word(word: str) -> np.uint64:
    return np.uint64(split_words(build_block([word])).hashes[0])


def remove_segments(texts: Sequence[str], is_removed: Flags) -> list[str]:
    """Return lower-case texts without the flagged segments, which are in the order of `split_words`."""
    block = build_block(texts)
    words = split_words(block)
    segments = words.segment_starts[:-1]
    text_of = np.searchsorted(words.text_starts, segments, side="right") - 1
    begins = words.first_bytes[segments]
    ends = np.minimum(np.append(begins[1:], len(block.content)), block.starts[text_of + 1])
    parts: list[list[bytes]] = [[] for _ in texts]
    for text, begin, end in zip(text_of[~is_removed], begins[~is_removed], ends[~is_removed], strict=True):
        parts[text].append(block.content[begin:end])
    return [b"".join(part).decode("utf-8").strip() for part in parts]


def collapse_whitespace(block: Block) -> Iterator[bytes]:
    """Collapse white space in each text; for ASCII, equals `" ".join(text.lower().split())`."""
    is_white = block.flags(_IS_WHITESPACE)
    is_dropped = np.zeros(len(is_white), np.bool_)
    np.logical_and(is_white[1:], is_white[:-1], out=is_dropped[1:])
    blanks = np.frombuffer(block.content.translate(_WHITESPACE_TO_SPACE), dtype=np.uint8)
    kept = blanks[~is_dropped].tobytes()
    starts = block.starts - np.searchsorted(np.flatnonzero(is_dropped), block.starts)
    for start, end in pairwise(starts.tolist()):
        yield kept[start:end].strip()


def hash_sequences(values: Hashes, starts: Ints) -> Hashes:
    """Hash each run of values between two neighbouring `starts`, the last of which is the number of values."""
    return mix_hashes(_hash_runs(values, starts[:-1], starts[1:]))


def mix_hashes(values: Hashes) -> Hashes:
    """The final mixing step of SplitMix64 (Steele et al. 2014): every output bit depends on every input bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def sorted_unique(values: Hashes) -> Hashes:
    values = np.sort(values)
    return values[np.concatenate(([True], values[1:] != values[:-1]))] if len(values) else values


def _normalize(text: str) -> str:
    """Apply NFKC (full-width digits, ligatures), and replace non-ASCII characters other than letters and digits by blanks.

    Bytes above 127 count as part of a word, so no-break spaces and dashes must go; line ends stay.
    """
    text = unicodedata.normalize("NFKC", text)
    return _NON_WORD.sub(lambda found: found[0] if found[0].isascii() else " ", text)


def _hash_runs(values: Hashes, starts: Ints, ends: Ints) -> Hashes:
    """For each run, the sum of value · base^(position in the run), modulo 2^64."""
    room = max(1 << 16, 1 << max(len(values) - 1, 1).bit_length())
    powers, inverses = _powers(room)
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * powers[: len(values)], out=sums[1:])
    return (sums[ends] - sums[starts]) * inverses[starts]


def _segment_starts(block: Block, content: NDArray[np.uint8], firsts: Ints, text_starts: Ints) -> Ints:
    """A segment starts at a text start, after a line end, and after .!?: followed by white space."""
    ends = np.flatnonzero(block.flags(_ENDS_SEGMENT)[:-1])
    follows = content[ends + 1]
    ends = ends[(content[ends] == _LINE_END) | (follows == _SPACE) | ((follows >= 9) & (follows <= 13))]
    is_start = np.zeros(len(firsts) + 1, np.bool_)
    is_start[np.searchsorted(firsts, ends)] = True
    is_start[text_starts] = True
    is_start[-1] = True
    return np.flatnonzero(is_start)


@lru_cache(maxsize=2)
def _powers(count: int) -> tuple[Hashes, Hashes]:
    """base^0, base^1, … and their inverses, modulo 2^64."""
    inverse = pow(_BASE, -1, 1 << 64)
    one = np.ones(1, np.uint64)
    powers, inverses = (
        np.cumprod(np.concatenate((one, np.full(count, base, np.uint64))), dtype=np.uint64) for base in (_BASE, inverse)
    )
    return powers, inverses
