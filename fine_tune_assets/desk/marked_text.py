"""Texts cut into pieces that a page shows in different ways: identifiers' places, flags, and what changed.

Pure: text in, pieces out. A piece is plain text; what is put around it is the template's matter.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Literal

from fine_tune_assets.phi.kinds import KINDS

_SLOT = re.compile(r"(\[(?:" + "|".join(KINDS) + r")\])")
_WORDS = re.compile(r"\d+(?:[.,]\d+)+|\w+|\s+|[^\w\s]")
_LONGEST_COMPARED = 20_000
"""Words. Comparing takes the square of what differs in the worst case: beyond that the whole middle counts as changed."""
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


def with_slots(text: str) -> list[Piece]:
    """A report in tagged form: each `[KIND]` is a piece of its own."""
    parts = _SLOT.split(text)
    return [Piece(part, ("slot",) if index % 2 else ()) for index, part in enumerate(parts) if part]


def with_spans(text: str, spans: Iterable[tuple[int, int, str]]) -> list[Piece]:
    """Cut at the ends of spans (start, end, kind), which may lie over each other."""
    inside = [(max(0, s), min(len(text), e), kind) for s, e, kind in spans if s < e]
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
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    middle_old, middle_new = old[head : len(old) - tail], new[head : len(new) - tail]
    pieces = [("same", old[:head]), *_compare(middle_old, middle_new), ("same", old[len(old) - tail :])]
    return _joined(pieces)


def with_marks(pieces: Iterable[DiffPiece], spans: Sequence[tuple[int, int, str]]) -> list[DiffPiece]:
    """Cut where the spans (start, end, kind) of the text after the change begin and end."""
    marked: list[DiffPiece] = []
    at = 0
    for piece in pieces:
        if piece.change == "removed":
            marked.append(piece)
            continue
        inside = [(start - at, end - at, kind) for start, end, kind in spans]
        marked += [DiffPiece(part.text, piece.change, part.kinds) for part in with_spans(piece.text, inside)]
        at += len(piece.text)
    return marked


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _compare(old: list[str], new: list[str]) -> list[tuple[str, list[str]]]:
    if max(len(old), len(new)) > _LONGEST_COMPARED:
        return [("removed", old), ("added", new)]
    pieces: list[tuple[str, list[str]]] = []
    for tag, a, b, c, d in SequenceMatcher(None, old, new, autojunk=len(old) > 2000).get_opcodes():
        if tag == "equal":
            pieces.append(("same", old[a:b]))
        else:
            pieces += [("removed", old[a:b]), ("added", new[c:d])]
    return pieces


def _joined(pieces: Iterable[tuple[str, list[str]]]) -> list[DiffPiece]:
    found: list[DiffPiece] = []
    for change, words in pieces:
        text = "".join(words)
        if not text:
            continue
        if found and found[-1].change == change:
            text = found.pop().text + text
        found.append(DiffPiece(text, change))  # type: ignore[arg-type]
    return found
