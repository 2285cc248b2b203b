"""Splits documents into chunks that never cross a heading and never separate a table row from its header.

Chunk ids depend only on the text, so they are stable. Pure: the caller counts tokens.
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
    separator: str
    """Separator from the preceding piece."""


def chunk_document(document: Document, limit: int, count: CountTokens) -> list[Chunk]:
    """Return the chunks in document order. Chunks have at most `limit` tokens, unless a table header alone is longer."""
    sections = [
        (headings, text, tokens)
        for (headings, header), blocks in groupby(document.blocks, key=lambda block: (block.headings, block.header))
        for text, tokens in _pack_blocks(list(blocks), header, limit, count)
    ]
    occurrences: Counter[str] = Counter()
    chunks = []
    for headings, text, tokens in sections:
        stem = fingerprint_json([document.source, headings, text])
        occurrences[stem] += 1
        chunks.append(Chunk(short(fingerprint_json([stem, occurrences[stem]])), headings, text, tokens))
    return chunks


def _pack_blocks(blocks: Sequence[Block], header: str, limit: int, count: CountTokens) -> Iterator[tuple[str, int]]:
    head = f"{header}\n" if header else ""
    taken = count([head])[0] if head else 0
    room, together, used = max(1, limit - taken), "", 0
    for piece in _split_blocks(blocks, room, count):
        if together and used + piece.tokens > room:
            yield head + together, taken + used
            together, used = "", 0
        together += (piece.separator if together else "") + piece.text
        used += piece.tokens
    if together:
        yield head + together, taken + used


def _split_blocks(blocks: Sequence[Block], room: int, count: CountTokens) -> Iterator[_Piece]:
    """Keep whole blocks; split long ones into sentences, and long sentences into words."""
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
                yield from _split_sentence(sentence, room, count, glue)


def _split_sentence(sentence: str, room: int, count: CountTokens, glue: str) -> Iterator[_Piece]:
    words = [part for word in sentence.split() for part in _split_word(word)]
    together, used = list[str](), 0
    for word, length in zip(words, count(words), strict=True):
        if together and used + length > room:
            yield _Piece(" ".join(together), used, glue)
            together, used, glue = [], 0, " "
        together.append(word)
        used += length
    yield _Piece(" ".join(together), used, glue)


def _split_word(word: str) -> list[str]:
    """Split a long word. Each token has at least one character, so no part exceeds the limit."""
    return [word[start : start + 40] for start in range(0, len(word), 40)]
