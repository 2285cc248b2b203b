"""Splits texts into plain-text pieces with kinds: placeholders, flagged places and changes. Templates add the markup."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from fine_tune_assets.desk.sequence_diff import Words, diff_sequences
from fine_tune_assets.phi.spans.kinds import KINDS

_PLACEHOLDER = re.compile(r"(\[(?:" + "|".join(KINDS) + r")\])")
_TOKEN = re.compile(r"\d+(?:[.,]\d+)+|\w+|\s+|[^\w\s]")
FLAGGED_SENTENCE = "flagged sentence"
"""Kind of the sentence around a flagged place."""
Change = Literal["same", "added", "removed"]


@dataclass(frozen=True)
class Piece:
    text: str
    kinds: tuple[str, ...] = ()
    """Empty for plain text."""


@dataclass(frozen=True)
class DiffPiece:
    text: str
    change: Change
    kinds: tuple[str, ...] = ()
    """Always empty for removed text."""
    is_coarse: bool = False
    """The texts differ too much to compare this part word by word; it may contain unchanged words."""


def mark_placeholders(text: str) -> list[Piece]:
    """Split a tagged report, so that each `[KIND]` is a separate piece."""
    parts = _PLACEHOLDER.split(text)
    return [Piece(part, ("placeholder",) if index % 2 else ()) for index, part in enumerate(parts) if part]


def mark_spans(text: str, spans: Iterable[tuple[int, int, str]]) -> list[Piece]:
    """Split at the ends of spans (start, end, kind). Spans may overlap and may exceed the text."""
    clipped = ((max(0, start), min(len(text), end), kind) for start, end, kind in spans)
    inside = [(start, end, kind) for start, end, kind in clipped if start < end]
    cuts = sorted({0, len(text), *(s for s, _, _ in inside), *(e for _, e, _ in inside)})
    pieces = []
    for start, end in pairwise(cuts):
        kinds = tuple(sorted({kind for s, e, kind in inside if s <= start and end <= e}))
        pieces.append(Piece(text[start:end], kinds))
    return pieces


def diff_words(before: str, after: str) -> list[DiffPiece]:
    """Removed and added words; consecutive equal words are one piece.

    >>> [(piece.text, piece.change) for piece in diff_words("No fever.", "No high fever.")]
    [('No ', 'same'), ('high ', 'added'), ('fever.', 'same')]
    """
    pieces: list[DiffPiece] = []
    for run in diff_sequences(_TOKEN.findall(before), _TOKEN.findall(after)):
        parts: tuple[tuple[Change, Words], ...] = (("same", run.same), ("removed", run.removed), ("added", run.added))
        texts = [(change, "".join(words)) for change, words in parts if words]
        pieces += [DiffPiece(text, change, is_coarse=run.is_coarse and change != "same") for change, text in texts]
    return pieces


def mark_diff_spans(pieces: Iterable[DiffPiece], spans: Sequence[tuple[int, int, str]]) -> list[DiffPiece]:
    """Split a diff at the ends of spans (start, end, kind), which refer to the new text."""
    marked: list[DiffPiece] = []
    at = 0
    for piece in pieces:
        if piece.change == "removed":
            marked.append(piece)
            continue
        inside = [(start - at, end - at, kind) for start, end, kind in spans]
        marked += [replace(piece, text=part.text, kinds=part.kinds) for part in mark_spans(piece.text, inside)]
        at += len(piece.text)
    return marked
