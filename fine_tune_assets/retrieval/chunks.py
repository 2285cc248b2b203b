"""Documents in chunks: as much of a section as fits, never across a heading, never a table row without its header.

Owns where a document is cut and the ids of chunks, which stay the same while their text does. Pure: whoever calls counts tokens.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from fine_tune_assets.core.fingerprints import fingerprint_json, short
from fine_tune_assets.retrieval.documents import Block, Document

CountTokens = Callable[[Sequence[str]], list[int]]
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"'(\[]?[A-ZÀ-Þ0-9])|\n+")


@dataclass(frozen=True)
class Chunk:
    chunk_id: str
    headings: tuple[str, ...]
    text: str
    tokens: int


@dataclass(frozen=True)
class _Piece:
    text: str
    tokens: int
    glue: str
    """What stands before it, behind another piece."""


def chunks_of(document: Document, limit: int, count: CountTokens) -> list[Chunk]:
    """The document in its order. None has more than `limit` tokens, but for a table's header that alone has."""
    found = [
        (headings, text, tokens)
        for (headings, header), blocks in groupby(document.blocks, key=lambda block: (block.headings, block.header))
        for text, tokens in _packed(list(blocks), header, limit, count)
    ]
    seen: Counter[str] = Counter()
    chunks = []
    for headings, text, tokens in found:
        stem = fingerprint_json([document.source, headings, text])
        seen[stem] += 1
        chunks.append(Chunk(short(fingerprint_json([stem, seen[stem]])), headings, text, tokens))
    return chunks


def _packed(blocks: Sequence[Block], header: str, limit: int, count: CountTokens) -> Iterator[tuple[str, int]]:
    head = f"{header}\n" if header else ""
    taken = count([head])[0] if head else 0
    room, together, used = max(1, limit - taken), "", 0
    for piece in _pieces(blocks, room, count):
        if together and used + piece.tokens > room:
            yield head + together, taken + used
            together, used = "", 0
        together += (piece.glue if together else "") + piece.text
        used += piece.tokens
    if together:
        yield head + together, taken + used


def _pieces(blocks: Sequence[Block], room: int, count: CountTokens) -> Iterator[_Piece]:
    """Whole blocks; sentences of those that are too long; words of a sentence that is."""
    for block, tokens in zip(blocks, count([block.text for block in blocks]), strict=True):
        if tokens <= room:
            yield _Piece(block.text, tokens, "\n")
            continue
        sentences = [text.strip() for text in _SENTENCE_END.split(block.text) if text.strip()]
        for number, (sentence, length) in enumerate(zip(sentences, count(sentences), strict=True)):
            glue = " " if number else "\n"
            if length <= room:
                yield _Piece(sentence, length, glue)
            else:
                yield from _cut_words(sentence, room, count, glue)


def _cut_words(sentence: str, room: int, count: CountTokens, glue: str) -> Iterator[_Piece]:
    words = [part for word in sentence.split() for part in _short_words(word)]
    together, used = list[str](), 0
    for word, length in zip(words, count(words), strict=True):
        if together and used + length > room:
            yield _Piece(" ".join(together), used, glue)
            together, used, glue = [], 0, " "
        together.append(word)
        used += length
    yield _Piece(" ".join(together), used, glue)


def _short_words(word: str) -> list[str]:
    """A word piece has a character at least, so that no part has more pieces than fit anywhere."""
    return [word[start : start + 40] for start in range(0, len(word), 40)]
