"""Texts cut into pieces that a page shows in different ways: identifiers' places, flags, and what changed.

Pure: text in, pieces out. A piece is plain text; what is put around it is the template's matter.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from fine_tune_assets.desk.differences import Words, compare
from fine_tune_assets.phi.spans.kinds import KINDS

_SLOT = re.compile(r"(\[(?:" + "|".join(KINDS) + r")\])")
_WORDS = re.compile(r"\d+(?:[.,]\d+)+|\w+|\s+|[^\w\s]")
IN_SENTENCE = "flagged sentence"
"""What the words around a flagged place are marked as."""
Change = Literal["same", "added", "removed"]


@dataclass(frozen=True)
class Piece:
    text: str
    kinds: tuple[str, ...] = ()
    """What it is marked as; empty for plain text."""


@dataclass(frozen=True)
class DiffPiece:
    text: str
    change: Change
    kinds: tuple[str, ...] = ()
    """What it is marked as; what was removed never is."""
    is_whole: bool = False
    """Shown as changed as a whole, since too much differs to compare it word by word: words in it may be the same."""


def with_slots(text: str) -> list[Piece]:
    """A report in tagged form: each `[KIND]` is a piece of its own."""
    parts = _SLOT.split(text)
    return [Piece(part, ("slot",) if index % 2 else ()) for index, part in enumerate(parts) if part]


def with_spans(text: str, spans: Iterable[tuple[int, int, str]]) -> list[Piece]:
    """Cut at the ends of spans (start, end, kind), which may lie over each other and, wholly or in part, outside."""
    clipped = ((max(0, start), min(len(text), end), kind) for start, end, kind in spans)
    inside = [(start, end, kind) for start, end, kind in clipped if start < end]
    cuts = sorted({0, len(text), *(s for s, _, _ in inside), *(e for _, e, _ in inside)})
    pieces = []
    for start, end in pairwise(cuts):
        kinds = tuple(sorted({kind for s, e, kind in inside if s <= start and end <= e}))
        pieces.append(Piece(text[start:end], kinds))
    return pieces


def word_diff(before: str, after: str) -> list[DiffPiece]:
    """What was removed and added, word by word; the same text is one piece.

    >>> [(piece.text, piece.change) for piece in word_diff("No fever.", "No high fever.")]
    [('No ', 'same'), ('high ', 'added'), ('fever.', 'same')]
    """
    pieces: list[DiffPiece] = []
    for run in compare(_WORDS.findall(before), _WORDS.findall(after)):
        parts: tuple[tuple[Change, Words], ...] = (("same", run.same), ("removed", run.removed), ("added", run.added))
        texts = [(change, "".join(words)) for change, words in parts if words]
        pieces += [DiffPiece(text, change, is_whole=run.is_whole and change != "same") for change, text in texts]
    return pieces


def with_marks(pieces: Iterable[DiffPiece], spans: Sequence[tuple[int, int, str]]) -> list[DiffPiece]:
    """Cut where the spans (start, end, kind) of the text after the change begin and end."""
    marked: list[DiffPiece] = []
    at = 0
    for piece in pieces:
        if piece.change == "removed":
            marked.append(piece)
            continue
        inside = [(start - at, end - at, kind) for start, end, kind in spans]
        marked += [replace(piece, text=part.text, kinds=part.kinds) for part in with_spans(piece.text, inside)]
        at += len(piece.text)
    return marked
