"""Turns a record and a statement into the token ids that the verifier reads: [CLS] statement [SEP] passage [SEP].

A segment number says for each piece whether it belongs to the statement or to the record, and whether the other one has it too,
so that a small model need not learn to compare spellings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.judging.judges.statement_readers import Claim
from fine_tune_assets.judging.judges.verifier.normalized_text import normalize_text
from fine_tune_assets.judging.judges.verifier.record_lines import split_record
from fine_tune_assets.judging.judges.verifier.record_passages import rank_lines

ENCODING_VERSION: Final = "statement, passage of 64 pieces, long statements in parts, 2"
"""Increase the number when the ids of a pair change: a trained verifier holds for the old ones."""
MAX_STATEMENT_PIECES: Final = 48
PASSAGE_PIECES: Final = 64
SEGMENTS: Final = 4
"""Statement or record, without or with an equal piece in the other one."""
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class EncodedClaim:
    ids: Ints
    segments: Ints
    statement_pieces: int
    """The pieces 1 to this one are the statement's."""
    word_numbers: tuple[int, ...]
    """For each of the statement's pieces, the index of its word."""
    evidence: str
    """The line that shares most with the statement, as written, with the answer if it is a question; empty if none shares a
    word."""


@dataclass(frozen=True)
class _Lines:
    written: tuple[str, ...]
    normalized: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]


class PairEncoder:
    """Keeps the lines of the records that it has seen. `tokenizer`: of a BERT model."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._first, self._separator = (tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]"))
        self._read_record = lru_cache(maxsize=2000)(self._split_record)

    def split_claim(self, claim: Claim) -> list[Claim]:
        """The claim, or one for each part of a statement that is too long to be read at once."""
        text = normalize_text(claim.statement)
        pieces = self._tokenizer.encode(text, add_special_tokens=False)
        if len(pieces.ids) <= MAX_STATEMENT_PIECES:
            return [claim]
        parts, start = list[str](), 0
        while start < len(pieces.ids):
            end = min(start + MAX_STATEMENT_PIECES, len(pieces.ids))
            while end < len(pieces.ids) and end > start + 1 and pieces.offsets[end][0] == pieces.offsets[end - 1][1]:
                end -= 1  # a word is not cut, unless it fills the part
            parts.append(text[pieces.offsets[start][0] : pieces.offsets[end - 1][1]])
            start = end
        return [Claim(claim.record, part) for part in parts]

    def encode_claim(self, claim: Claim, passage_pieces: int = PASSAGE_PIECES) -> EncodedClaim:
        text = normalize_text(claim.statement)
        statement = self._tokenizer.encode(text, add_special_tokens=False)
        ids = statement.ids[:MAX_STATEMENT_PIECES]
        lines = self._read_record(claim.record)
        ranked = rank_lines(text, lines.normalized)
        passage = _choose_pieces([row for row, _ in ranked], lines.ids, passage_pieces)
        return EncodedClaim(
            np.array([self._first, *ids, self._separator, *passage, self._separator]),
            _segments(ids, passage),
            len(ids),
            tuple(len(text[: start + 1].split()) - 1 for start, _ in statement.offsets[: len(ids)]),
            _quote(lines.written, ranked[0][0]) if ranked and ranked[0][1] > 0 else "",
        )

    def _split_record(self, record: str) -> _Lines:
        lines = split_record(record)
        encoded = self._tokenizer.encode_batch([line.normalized for line in lines], add_special_tokens=False)
        return _Lines(
            tuple(line.written for line in lines),
            tuple(line.normalized for line in lines),
            tuple(tuple(one.ids) for one in encoded),
        )


def _choose_pieces(ranked: Sequence[int], lines: Sequence[Sequence[int]], budget: int) -> list[int]:
    """The best lines that fit, in the record's order; the best line is cut if it does not fit."""
    chosen, left = set[int](), budget
    for row in ranked:
        if len(lines[row]) <= left or not chosen:
            chosen.add(row)
            left -= len(lines[row])
    return [piece for row in sorted(chosen) for piece in lines[row]][:budget]


def _quote(lines: Sequence[str], row: int) -> str:
    return "\n".join(lines[row : row + 2]) if lines[row].endswith("?") else lines[row]


def _segments(statement: Sequence[int], passage: Sequence[int]) -> Ints:
    said, known = set(statement), set(passage)
    own = [1 if piece in known else 0 for piece in statement]
    other = [3 if piece in said else 2 for piece in passage]
    return np.array([0, *own, 0, *other, 2])
