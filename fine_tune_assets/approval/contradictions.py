"""Finds drafts that answer the same or nearly the same input with outputs that can't both be right.

Owns that many drafts of one input cost time in proportion to their number: equal inputs are one question, equal outputs one
answer. Does not know how near-same texts are found, nor when two outputs disagree (`saying`).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from fine_tune_assets.claims.saying import is_contrary, normal, said_by
from fine_tune_assets.core.prompts.retrieval_contract import bare_question
from fine_tune_assets.core.records import PairFinder
from fine_tune_assets.tables.approval import DraftedExample

COMPARED = 20
"""Each answer to an input is compared with as many others to it, the first ones. More find more contradictions among many
different answers, and cost time in proportion."""
NAMED = 20
"""As many contradicting drafts are named at each draft: a reviewer reads no more."""


@dataclass(frozen=True, eq=False)
class Answer:
    """An output that drafts with the same input have in common."""

    output: str
    example_ids: list[str]
    """In the order in which they came."""


Answers = tuple[Answer, ...]
"""All that answer one input, each once."""


def contradictions(drafts: Sequence[DraftedExample], find_pairs: PairFinder | None) -> Iterator[tuple[str, list[str]]]:
    """Example id → the drafts that contradict it, one for each answer. Without `find_pairs` only equal inputs are compared."""
    said = cache(said_by)
    named: dict[Answer, list[str]] = defaultdict(list)
    for one, other in compared_answers(drafts, find_pairs):
        if is_contrary(said(one.output), said(other.output)):
            for answer, contrary in ((one, other), (other, one)):
                if len(named[answer]) < NAMED:
                    named[answer].append(contrary.example_ids[0])
    for answer, contrary_ids in named.items():
        for example_id in answer.example_ids:
            yield example_id, contrary_ids


def compared_answers(
    drafts: Sequence[DraftedExample], find_pairs: PairFinder | None
) -> Iterator[tuple[Answer, Answer]]:
    """Every two answers that are held against each other, to the same question about the same or nearly the same input."""
    for by_input in _by_question(drafts):
        answers = list(by_input.values())
        for own in answers:
            yield from ((own[first], own[place]) for place in range(len(own)) for first in range(min(place, COMPARED)))
        if find_pairs is not None and len(answers) > 1:
            for pair in find_pairs(list(by_input), [str(number) for number in range(len(answers))]):
                yield from _across(answers[pair.first], answers[pair.second])


def _by_question(drafts: Sequence[DraftedExample]) -> Iterator[dict[str, Answers]]:
    """Of each task, instruction and passages: input → its answers. Of equal inputs the first spelling stands for all."""
    questions: dict[tuple[str, str, tuple[str, ...]], dict[str, tuple[str, dict[str, Answer]]]] = defaultdict(dict)
    for draft in drafts:
        asked = bare_question(draft.instruction, draft.input)
        about = asked.subject if asked.documents else asked.input
        if about:
            inputs = questions[draft.task, asked.instruction if asked.input else "", asked.documents]
            _, answers = inputs.setdefault(normal(about), (about, {}))
            answers.setdefault(draft.output, Answer(draft.output, [])).example_ids.append(draft.example_id)
    for inputs in questions.values():
        yield {spelled: tuple(answers.values()) for spelled, answers in inputs.values()}


def _across(one: Answers, other: Answers) -> Iterator[tuple[Answer, Answer]]:
    """Every answer of either with the first ones of the other."""
    yield from ((a, b) for a in one for b in other[:COMPARED])
    yield from ((a, b) for b in other[COMPARED:] for a in one[:COMPARED])
