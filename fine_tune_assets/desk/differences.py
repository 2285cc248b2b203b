"""What one text changes in another: word by word, and coarser where that would take too long.

Pure. Owns the limit on the work, which is counted in steps and not in seconds, so that the same two texts are always shown
in the same way. Nothing of either text is ever left out.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

_WORDS = re.compile(r"\w+|\s+|[^\w\s]")
_SENTENCES = re.compile(r"[^\n.]*[\n.]|[^\n.]+")
MOST_STEPS = 450_000
"""Less than 0.1 s. A third of it reaches for 170 words that were changed here and there, in a text of any length."""
_STEPS_OF_A_TURN = 5
"""To enter a diagonal takes as long as to compare five words."""
Change = Literal["same", "added", "removed"]
_Run = tuple[Change, Sequence[str]]


@dataclass(frozen=True)
class DiffPiece:
    text: str
    change: Change


@dataclass(frozen=True)
class TextDiff:
    pieces: tuple[DiffPiece, ...]
    is_coarse: bool
    """Whether words that are in both may be shown as removed and added: the texts differ in too much to look at each."""

    @property
    def is_empty(self) -> bool:
        return all(piece.change == "same" for piece in self.pieces)


class TooMuchError(Exception):
    """The steps do not reach. Shown as changed is then everything between what is the same at both ends."""


class Budget:
    """How many steps are left."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise TooMuchError


def word_diff(before: str, after: str, most_steps: int = MOST_STEPS) -> TextDiff:
    """What was removed and added, word by word; beyond the limit between those lines and sentences that are in both.

    >>> [(piece.text, piece.change) for piece in word_diff("No fever.", "No high fever.").pieces]
    [('No ', 'same'), ('high ', 'added'), ('fever.', 'same')]
    """
    try:
        runs = _compare(_WORDS.findall(before), _WORDS.findall(after), Budget(most_steps // 3))
        return TextDiff(_joined(runs), is_coarse=False)
    except TooMuchError:
        return _diff_between_sentences(before, after, Budget(most_steps // 3 * 2))


def _diff_between_sentences(before: str, after: str, budget: Budget) -> TextDiff:
    old, new = _SENTENCES.findall(before), _SENTENCES.findall(after)
    is_coarse, runs, at, other_at = False, list[_Run](), 0, 0
    for place, other in [*_anchors(old, new), (len(old), len(new))]:
        removed, added = _WORDS.findall("".join(old[at:place])), _WORDS.findall("".join(new[other_at:other]))
        try:
            runs += _compare(removed, added, budget)
        except TooMuchError:
            is_coarse, runs = True, [*runs, ("removed", removed), ("added", added)]
        runs.append(("same", old[place : place + 1]))
        at, other_at = place + 1, other + 1
    return TextDiff(_joined(runs), is_coarse)


def _anchors(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Where both hold the same sentence, which is in each only once: as many as keep their order ("patience diff").

    The longest rising row of positions, found by the heads of piles: n log n for n sentences.
    """
    of_old, of_new = _places_of_unique(old), _places_of_unique(new)
    pairs = [(place, of_new[sentence]) for sentence, place in of_old.items() if sentence in of_new]
    heads: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for index, (_, other) in enumerate(pairs):
        pile = bisect_left(heads, other)
        heads[pile : pile + 1] = [other]
        last[pile : pile + 1] = [index]
        before.append(last[pile - 1] if pile else -1)
    found, at = list[tuple[int, int]](), last[-1] if last else -1
    while at >= 0:
        found.append(pairs[at])
        at = before[at]
    return found[::-1]


def _places_of_unique(sentences: Sequence[str]) -> dict[str, int]:
    counts = Counter(sentences)
    return {sentence: place for place, sentence in enumerate(sentences) if counts[sentence] == 1}


def _compare(old: Sequence[str], new: Sequence[str], budget: Budget) -> list[_Run]:
    """The shortest way from one to the other. Raises TooMuchError."""
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    a, b = old[head : len(old) - tail], new[head : len(new) - tail]
    middle = _shortest(a, b, budget) if a and b else [("removed", a), ("added", b)]
    return [("same", old[:head]), *middle, ("same", old[len(old) - tail :])]


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _shortest(old: Sequence[str], new: Sequence[str], budget: Budget) -> list[_Run]:
    """Myers, An O(ND) Difference Algorithm and Its Variations (1986): the work grows with what differs, not with the length.

    `furthest` is how far in `old` each diagonal (position in old less position in new) can be followed with so many edits.
    """
    furthest: dict[int, int] = {1: 0}
    trace = [furthest]
    for edits in range(len(old) + len(new) + 1):
        budget.spend(_STEPS_OF_A_TURN * (edits + 1))
        reached: dict[int, int] = {}
        for diagonal in range(-edits, edits + 1, 2):
            start = x = _entry(furthest, diagonal, edits)
            while x < len(old) and x - diagonal < len(new) and old[x] == new[x - diagonal]:
                x += 1
            budget.spend(x - start)
            reached[diagonal] = x
            if x >= len(old) and x - diagonal >= len(new):
                return list(_way(old, new, trace))[::-1]
        furthest = reached
        trace.append(furthest)
    raise AssertionError("Every text can be reached by removing one and adding the other.")


def _entry(furthest: dict[int, int], diagonal: int, edits: int) -> int:
    """Where a diagonal is entered: by an addition or by a removal, whichever leads further."""
    by_addition, by_removal = furthest.get(diagonal + 1, -1), furthest.get(diagonal - 1, -2) + 1
    return max(by_addition, by_removal) if edits else 0


def _way(old: Sequence[str], new: Sequence[str], trace: Sequence[dict[int, int]]) -> Iterator[_Run]:
    """From the end to the start, by what could be reached with one edit less."""
    x, y = len(old), len(new)
    for edits in range(len(trace) - 1, -1, -1):
        diagonal = x - y
        entry = _entry(trace[edits], diagonal, edits)
        yield "same", old[entry:x]
        x, y = entry, entry - diagonal
        if edits and trace[edits].get(diagonal + 1, -1) == entry:
            y -= 1
            yield "added", new[y : y + 1]
        elif edits:
            x -= 1
            yield "removed", old[x : x + 1]


def _joined(runs: Iterable[_Run]) -> tuple[DiffPiece, ...]:
    """Pieces as they are shown: between two that are the same, all that was removed and then all that was added."""
    found: list[DiffPiece] = []
    parts: dict[Change, list[str]] = {"same": [], "removed": [], "added": []}

    def end(*changes: Change) -> None:
        for change in changes:
            text = "".join(parts[change])
            parts[change].clear()
            if text:
                found.append(DiffPiece(text, change))

    for change, words in runs:
        if words:
            end(*(("removed", "added") if change == "same" else ("same",)))
            parts[change] += words
    end("same", "removed", "added")
    return tuple(found)
