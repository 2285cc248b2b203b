"""Flags what only the whole table shows: contradictions between drafts, and labels that look like noise.

Owns when two outputs disagree and when an output is suspicious. Drops nothing. Does not know how near-same texts are found.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from fine_tune_assets.approval.dates import unsupported_dates, without_dates
from fine_tune_assets.approval.flags import flag
from fine_tune_assets.approval.negation import unsupported_negations
from fine_tune_assets.approval.sides import sides_in, unsupported_sides
from fine_tune_assets.approval.units import unsupported_units
from fine_tune_assets.core.numbers import numbers_in
from fine_tune_assets.core.records import PairFinder

ALIKE = 0.5
"""Jaccard similarity of words under which two outputs say different things; of short ones it is mostly 0 or 1."""
LONG_CHARACTERS = 200
LONGER_TIMES = 1.5
"""An output of that many characters which is so many times as long as its input holds what the input can't."""
REPEATED_WORDS = 8
"""Words from which an output that stands under different inputs is a template; short ones such as "None." do repeat."""
REPEATED_TIMES = 3
SHOWN_PAIRS = 20
"""Drafts of one input that are compared with each other; more are compared with the first ones only."""


def flag_across(drafts: Sequence[Mapping[str, Any]], find_pairs: PairFinder | None) -> dict[str, list[str]]:
    """Example id → flags that the other drafts give it. Without `find_pairs` only equal inputs are compared."""
    flags: dict[str, list[str]] = defaultdict(list)
    for first, second in sorted(_alike(drafts, find_pairs)):
        one, other = drafts[first], drafts[second]
        if disagree(one["output"], other["output"]):
            flags[one["example_id"]].append(flag("contradiction", f"nearly the same input as {other['example_id']}"))
            flags[other["example_id"]].append(flag("contradiction", f"nearly the same input as {one['example_id']}"))
    for draft in drafts:
        flags[draft["example_id"]] += [flag("label noise", why) for why in noise_of(draft["input"], draft["output"])]
    for draft in _templates(drafts):
        flags[draft["example_id"]].append(flag("label noise", "the same output stands under different inputs"))
    for draft in _of_other_tasks(drafts):
        flags[draft["example_id"]].append(flag("label noise", "the output is that of another task of the same report"))
    return {example_id: list(dict.fromkeys(found)) for example_id, found in flags.items() if found}


def noise_of(input_text: str, output: str) -> list[str]:
    """Why one output looks like no answer to its input; empty for a good one."""
    found = []
    if not re.search(r"[A-Za-z0-9]{2}", output):
        found.append("the output says nothing")
    if input_text and _normal(output) == _normal(input_text):
        found.append("the output repeats the input")
    if len(output) >= LONG_CHARACTERS and 0 < len(input_text) * LONGER_TIMES < len(output):
        found.append("the output is much longer than its input")
    return found


def disagree(output: str, other: str) -> bool:
    """Whether two outputs to the same input can't both be right, as far as words show.

    >>> disagree("Take 40 mg.", "Take 80 mg."), disagree("Rest and ice.", "Ice and rest.")
    (True, False)
    """
    if _normal(output) == _normal(other):
        return False
    if unsupported_negations(output, other) or unsupported_negations(other, output):
        return True
    # Each says something that the other has otherwise; what only one of them says is no contradiction.
    if any(check(output, other) and check(other, output) for check in _NOT_BOTH):
        return True
    words, others = set(_normal(output).split()), set(_normal(other).split())
    return len(words & others) < ALIKE * len(words | others)


def _other_numbers(output: str, other: str) -> list[str]:
    return sorted(numbers_in(without_dates(output)) - numbers_in(without_dates(other)))


def _other_sides(output: str, other: str) -> list[str]:
    """Sites of which both speak as often, and not of the same sides: of two knees each, one is the other one."""
    here, there = Counter(_sides_of(output)), Counter(_sides_of(other))
    times, others = Counter(site for site, _ in here.elements()), Counter(site for site, _ in there.elements())
    return sorted({site for site, side in here - there if times[site] == others[site]})


def _sides_of(text: str) -> list[tuple[str, str]]:
    return [(side.site or "", side.side) for side in sides_in(text)]


_NOT_BOTH: Sequence[Callable[[str, str], list[str]]] = (
    _other_numbers,
    unsupported_units,
    unsupported_dates,
    unsupported_sides,
    _other_sides,
)


def _alike(drafts: Sequence[Mapping[str, Any]], find_pairs: PairFinder | None) -> set[tuple[int, int]]:
    """Places of two drafts that answer the same question about the same or nearly the same input."""
    pairs: set[tuple[int, int]] = set()
    by_input: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    by_question: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, draft in enumerate(drafts):
        if not draft["input"]:
            continue
        question = (draft["task"], draft["instruction"])
        by_input[*question, _normal(draft["input"])].append(place)
        by_question[question].append(place)
    for places in by_input.values():
        pairs |= set(combinations(places[:SHOWN_PAIRS], 2))
        pairs |= {(places[0], place) for place in places[SHOWN_PAIRS:]}
    if find_pairs is None:
        return pairs
    for places in by_question.values():
        found = find_pairs([drafts[place]["input"] for place in places], [drafts[p]["example_id"] for p in places])
        pairs |= {(places[pair.first], places[pair.second]) for pair in found}
    return pairs


def _templates(drafts: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Drafts with a long output that stands under several inputs of the same task."""

    def key(draft: Mapping[str, Any]) -> tuple[str, str]:
        return draft["task"], _normal(draft["output"])

    inputs = {(*key(draft), _normal(draft["input"])) for draft in drafts}
    times = Counter((task, output) for task, output, _ in inputs)
    for draft in drafts:
        if times[key(draft)] >= REPEATED_TIMES and len(key(draft)[1].split()) >= REPEATED_WORDS:
            yield draft


def _of_other_tasks(drafts: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Drafts whose output another task makes of the same report too: one of them took the wrong section."""
    tasks: dict[tuple[str, str], set[str]] = defaultdict(set)
    for draft in drafts:
        tasks[draft["report_id"], _normal(draft["output"])].add(draft["task"])
    for draft in drafts:
        if len(tasks[draft["report_id"], _normal(draft["output"])]) > 1:
            yield draft


def _normal(text: str) -> str:
    return " ".join(re.findall(r"\w+(?:[.,]\d+)*", text.lower()))
