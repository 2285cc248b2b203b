"""What differs between two rows of words, found in a bounded number of steps however long they are.

Pure. Owns the limit on the work, which is counted in steps and not in seconds, so that the same two texts are always compared
in the same way. Does not know what a word is, nor how a difference is shown.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

MOST_STEPS = 300_000
"""About 0.1 s. A third of it reaches for 100 words that were changed here and there, in a text of any length."""
_STEPS_OF_A_TURN = 5
"""To enter a diagonal takes as long as to compare five words."""
_ENDS = frozenset(".\n")
Words = Sequence[str]


@dataclass(frozen=True)
class Run:
    """Words that both have, and what follows them in one and in the other."""

    same: Words
    removed: Words = ()
    added: Words = ()
    is_whole: bool = False
    """Whether the steps did not reach to compare what was removed with what was added."""


class TooMuchError(Exception):
    """The steps do not reach."""


@dataclass
class Budget:
    """How many steps are left."""

    left: int

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise TooMuchError


def compare(old: Words, new: Words, most_steps: int = MOST_STEPS) -> list[Run]:
    """By words; beyond the limit by those between sentences that are in both, and in the end as a whole."""
    try:
        return _joined(_between(old, new, Budget(most_steps // 3)))
    except TooMuchError:
        return _joined(_by_sentences(old, new, Budget(most_steps // 3 * 2)))


def _by_sentences(old: Words, new: Words, budget: Budget) -> Iterator[Run]:
    of_old, of_new = _sentences(old), _sentences(new)
    ends = [*_anchors(of_old, of_new), (len(of_old), len(of_new))]
    for (after, other_after), (place, other) in pairwise([(-1, -1), *ends]):
        removed, added = _flat(of_old[after + 1 : place]), _flat(of_new[other_after + 1 : other])
        try:
            yield from _between(removed, added, budget)
        except TooMuchError:
            yield Run((), removed, added, is_whole=True)
        yield Run(_flat(of_old[place : place + 1]))


def _sentences(words: Words) -> list[tuple[str, ...]]:
    """Up to a full stop or the end of a line."""
    found: list[tuple[str, ...]] = []
    start = 0
    for end, word in enumerate(words, start=1):
        if not _ENDS.isdisjoint(word) or end == len(words):
            found.append(tuple(words[start:end]))
            start = end
    return found


def _flat(sentences: Iterable[Words]) -> list[str]:
    return [word for sentence in sentences for word in sentence]


def _anchors(old: Sequence[Words], new: Sequence[Words]) -> list[tuple[int, int]]:
    """Where both hold the same sentence, which is in each only once: as many as keep their order ("patience diff").

    The longest rising row of places, found by the heads of piles: n log n for n sentences.
    """
    of_old, of_new = _places_of_unique(old), _places_of_unique(new)
    pairs = [(place, of_new[sentence]) for sentence, place in of_old.items() if sentence in of_new]
    heads, last, before = list[int](), list[int](), list[int]()
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


def _places_of_unique(sentences: Sequence[Words]) -> dict[Words, int]:
    counts = Counter(sentences)
    return {sentence: place for place, sentence in enumerate(sentences) if counts[sentence] == 1}


def _between(old: Words, new: Words, budget: Budget) -> list[Run]:
    """The shortest way from one to the other. Raises TooMuchError."""
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    a, b = old[head : len(old) - tail], new[head : len(new) - tail]
    middle = shortest_way(a, b, budget) if a and b else [Run((), a, b)]
    return [Run(old[:head]), *middle, Run(old[len(old) - tail :])]


def _common(one: Words, other: Words) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def shortest_way(old: Words, new: Words, budget: Budget) -> list[Run]:
    """Myers, An O(ND) Difference Algorithm and Its Variations (1986): the work grows with what differs, not with the length.

    `furthest` is how far in `old` each diagonal (place in old less place in new) can be followed with so many edits.
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
                return list(_way_back(old, new, trace))[::-1]
        furthest = reached
        trace.append(furthest)
    raise AssertionError("One is always reached from the other by removing and adding everything.")


def _entry(furthest: dict[int, int], diagonal: int, edits: int) -> int:
    """Where a diagonal is entered: by an addition or by a removal, whichever leads further."""
    by_addition, by_removal = furthest.get(diagonal + 1, -1), furthest.get(diagonal - 1, -2) + 1
    return max(by_addition, by_removal) if edits else 0


def _way_back(old: Words, new: Words, trace: Sequence[dict[int, int]]) -> Iterator[Run]:
    """From the end to the start, by what could be reached with one edit less."""
    x, y = len(old), len(new)
    for edits in range(len(trace) - 1, -1, -1):
        diagonal = x - y
        entry = _entry(trace[edits], diagonal, edits)
        yield Run(old[entry:x])
        x, y = entry, entry - diagonal
        if edits and trace[edits].get(diagonal + 1, -1) == entry:
            y -= 1
            yield Run((), (), new[y : y + 1])
        elif edits:
            x -= 1
            yield Run((), old[x : x + 1])


def _joined(runs: Iterable[Run]) -> list[Run]:
    """Between two that are the same: all that was removed, and then all that was added."""
    found = [Run(())]
    told = [run for run in runs if run.same or run.removed or run.added]
    for is_same, group in groupby(told, key=lambda run: bool(run.same)):
        parts = list(group)
        if is_same:
            found.append(Run(_flat(run.same for run in parts)))
            continue
        removed, added = _flat(run.removed for run in parts), _flat(run.added for run in parts)
        is_whole, last = any(run.is_whole for run in parts), found[-1]
        if len(found) > 1 and (found[-2].removed or found[-2].added) and _is_gap(last.same):
            # Two words that were changed side by side read as one change.
            before = found.pop(-2)
            removed, added = [*before.removed, *last.same, *removed], [*before.added, *last.same, *added]
            last, is_whole = before, is_whole or before.is_whole
        found[-1] = Run(last.same, removed, added, is_whole)
    return found


def _is_gap(words: Words) -> bool:
    """White space of one line only."""
    return len(words) == 1 and words[0].isspace() and "\n" not in words[0]
