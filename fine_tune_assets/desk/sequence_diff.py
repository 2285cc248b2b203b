"""Diffs two sequences of words within a bounded number of steps.

The limit counts steps, not seconds, so that the same two texts always get the same diff.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

MAX_STEPS = 300_000
"""About 0.1 s. A third of them suffices for 100 scattered changes in a text of any length."""
_DIAGONAL_STEPS = 5
"""Entering a diagonal costs as much as comparing five words."""
_SENTENCE_ENDS = frozenset(".\n")
Words = Sequence[str]


@dataclass(frozen=True)
class DiffRun:
    """Words that both texts share, and what follows them in the old and in the new text."""

    same: Words
    removed: Words = ()
    added: Words = ()
    is_coarse: bool = False
    """True if the budget did not suffice to compare `removed` with `added` word by word."""


class BudgetExceededError(Exception):
    """The step budget is used up."""


@dataclass
class StepBudget:
    remaining: int

    def spend(self, steps: int) -> None:
        self.remaining -= steps
        if self.remaining < 0:
            raise BudgetExceededError


def diff_sequences(old: Words, new: Words, max_steps: int = MAX_STEPS) -> list[DiffRun]:
    """Diff by words; over budget, only between sentences that both contain; over budget again, whole parts as changed."""
    try:
        return _merge_runs(_diff_words(old, new, StepBudget(max_steps // 3)))
    except BudgetExceededError:
        return _merge_runs(_diff_by_sentences(old, new, StepBudget(max_steps // 3 * 2)))


def _diff_by_sentences(old: Words, new: Words, budget: StepBudget) -> Iterator[DiffRun]:
    of_old, of_new = _split_sentences(old), _split_sentences(new)
    ends = [*_find_anchors(of_old, of_new), (len(of_old), len(of_new))]
    for (after, other_after), (place, other) in pairwise([(-1, -1), *ends]):
        removed, added = _flatten(of_old[after + 1 : place]), _flatten(of_new[other_after + 1 : other])
        try:
            yield from _diff_words(removed, added, budget)
        except BudgetExceededError:
            yield DiffRun((), removed, added, is_coarse=True)
        yield DiffRun(_flatten(of_old[place : place + 1]))


def _split_sentences(words: Words) -> list[tuple[str, ...]]:
    """Split after full stops and line ends."""
    found: list[tuple[str, ...]] = []
    start = 0
    for end, word in enumerate(words, start=1):
        if not _SENTENCE_ENDS.isdisjoint(word) or end == len(words):
            found.append(tuple(words[start:end]))
            start = end
    return found


def _flatten(sentences: Iterable[Words]) -> list[str]:
    return [word for sentence in sentences for word in sentence]


def _find_anchors(old: Sequence[Words], new: Sequence[Words]) -> list[tuple[int, int]]:
    """Positions of sentences that occur exactly once in both, as many as keep their order ("patience diff").

    Longest increasing subsequence by patience sorting: n log n for n sentences.
    """
    of_old, of_new = _index_unique(old), _index_unique(new)
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


def _index_unique(sentences: Sequence[Words]) -> dict[Words, int]:
    counts = Counter(sentences)
    return {sentence: place for place, sentence in enumerate(sentences) if counts[sentence] == 1}


def _diff_words(old: Words, new: Words, budget: StepBudget) -> list[DiffRun]:
    """The shortest edit from one to the other. Raises BudgetExceededError."""
    head = _count_common_prefix(old, new)
    tail = _count_common_prefix(old[head:][::-1], new[head:][::-1])
    a, b = old[head : len(old) - tail], new[head : len(new) - tail]
    middle = find_shortest_edit(a, b, budget) if a and b else [DiffRun((), a, b)]
    return [DiffRun(old[:head]), *middle, DiffRun(old[len(old) - tail :])]


def _count_common_prefix(one: Words, other: Words) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def find_shortest_edit(old: Words, new: Words, budget: StepBudget) -> list[DiffRun]:
    """Myers, An O(ND) Difference Algorithm and Its Variations (1986): the cost grows with the differences, not the length.

    `furthest` maps each diagonal (position in `old` minus position in `new`) to the furthest position in `old` after `edits`.
    """
    furthest: dict[int, int] = {1: 0}
    trace = [furthest]
    for edits in range(len(old) + len(new) + 1):
        budget.spend(_DIAGONAL_STEPS * (edits + 1))
        reached: dict[int, int] = {}
        for diagonal in range(-edits, edits + 1, 2):
            start = x = _find_entry(furthest, diagonal, edits)
            while x < len(old) and x - diagonal < len(new) and old[x] == new[x - diagonal]:
                x += 1
            budget.spend(x - start)
            reached[diagonal] = x
            if x >= len(old) and x - diagonal >= len(new):
                return list(_backtrack(old, new, trace))[::-1]
        furthest = reached
        trace.append(furthest)
    raise AssertionError("Removing and adding everything is always an edit.")


def _find_entry(furthest: dict[int, int], diagonal: int, edits: int) -> int:
    """Where a diagonal is entered: by an addition or a removal, whichever gets further."""
    by_addition, by_removal = furthest.get(diagonal + 1, -1), furthest.get(diagonal - 1, -2) + 1
    return max(by_addition, by_removal) if edits else 0


def _backtrack(old: Words, new: Words, trace: Sequence[dict[int, int]]) -> Iterator[DiffRun]:
    """Runs from the end to the start, following `trace` one edit at a time."""
    x, y = len(old), len(new)
    for edits in range(len(trace) - 1, -1, -1):
        diagonal = x - y
        entry = _find_entry(trace[edits], diagonal, edits)
        yield DiffRun(old[entry:x])
        x, y = entry, entry - diagonal
        if edits and trace[edits].get(diagonal + 1, -1) == entry:
            y -= 1
            yield DiffRun((), (), new[y : y + 1])
        elif edits:
            x -= 1
            yield DiffRun((), old[x : x + 1])


def _merge_runs(runs: Iterable[DiffRun]) -> list[DiffRun]:
    """Merge adjacent runs, so that each change is one removal followed by one addition."""
    found = [DiffRun(())]
    nonempty = [run for run in runs if run.same or run.removed or run.added]
    for is_same, group in groupby(nonempty, key=lambda run: bool(run.same)):
        parts = list(group)
        if is_same:
            found.append(DiffRun(_flatten(run.same for run in parts)))
            continue
        removed, added = _flatten(run.removed for run in parts), _flatten(run.added for run in parts)
        is_whole, last = any(run.is_coarse for run in parts), found[-1]
        if len(found) > 1 and (found[-2].removed or found[-2].added) and _is_inline_space(last.same):
            # Show two adjacent changed words as one change.
            before = found.pop(-2)
            removed, added = [*before.removed, *last.same, *removed], [*before.added, *last.same, *added]
            last, is_whole = before, is_whole or before.is_coarse
        found[-1] = DiffRun(last.same, removed, added, is_whole)
    return found


def _is_inline_space(words: Words) -> bool:
    """Whether the words are a single white space without a line break."""
    return len(words) == 1 and words[0].isspace() and "\n" not in words[0]
