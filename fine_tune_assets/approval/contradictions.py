"""Finds drafts whose outputs contradict each other for the same or nearly the same input.

Groups equal inputs and equal outputs first, so that the cost grows linearly with the number of drafts.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

from fine_tune_assets.claims.statements import extract_statements, is_contradiction, normalize_text
from fine_tune_assets.core.prompts.retrieval_contract import strip_passages
from fine_tune_assets.core.shared_records import PairFinder
from fine_tune_assets.tables.approval_rows import DraftedExample

MAX_COMPARED_ANSWERS = 20
"""Maximum number of answers that each answer to an input is compared with; raising it costs time in proportion."""
MAX_NAMED_DRAFTS = 20
"""Maximum number of contradicting drafts named at each draft."""


@dataclass(frozen=True, eq=False)
class Answer:
    """An output shared by drafts with the same input."""

    output: str
    example_ids: list[str]
    """In order of occurrence."""


Answers = tuple[Answer, ...]
"""The distinct answers to one input."""


def find_contradictions(
    drafts: Sequence[DraftedExample], find_pairs: PairFinder | None, checks: Collection[str]
) -> Iterator[tuple[str, list[str]]]:
    """Example id → contradicting drafts, one for each answer. Without `find_pairs`, compares only equal inputs."""
    statements_of = cache(partial(extract_statements, checks=checks))
    named: dict[Answer, list[str]] = defaultdict(list)
    for one, other in pair_answers(drafts, find_pairs):
        if is_contradiction(statements_of(one.output), statements_of(other.output)):
            for answer, contrary in ((one, other), (other, one)):
                if len(named[answer]) < MAX_NAMED_DRAFTS:
                    named[answer].append(contrary.example_ids[0])
    for answer, contrary_ids in named.items():
        for example_id in answer.example_ids:
            yield example_id, contrary_ids


def pair_answers(drafts: Sequence[DraftedExample], find_pairs: PairFinder | None) -> Iterator[tuple[Answer, Answer]]:
    """Pairs of answers to compare: same question, same or nearly the same input."""
    for by_input in _group_by_question(drafts):
        answers = list(by_input.values())
        for own in answers:
            yield from (
                (own[first], own[place])
                for place in range(len(own))
                for first in range(min(place, MAX_COMPARED_ANSWERS))
            )
        if find_pairs is not None and len(answers) > 1:
            for pair in find_pairs(list(by_input), [str(number) for number in range(len(answers))]):
                yield from _pair_across_inputs(answers[pair.first], answers[pair.second])


def _group_by_question(drafts: Sequence[DraftedExample]) -> Iterator[dict[str, Answers]]:
    """For each task, instruction and passages: input → its answers. Inputs equal after normalization share the first spelling."""
    questions: dict[tuple[str, str, tuple[str, ...]], dict[str, tuple[str, dict[str, Answer]]]] = defaultdict(dict)
    for draft in drafts:
        asked = strip_passages(draft.instruction, draft.input)
        about = asked.topic if asked.documents else asked.input
        if about:
            inputs = questions[draft.task, asked.instruction if asked.input else "", asked.documents]
            _, answers = inputs.setdefault(normalize_text(about), (about, {}))
            answers.setdefault(draft.output, Answer(draft.output, [])).example_ids.append(draft.example_id)
    for inputs in questions.values():
        yield {spelled: tuple(answers.values()) for spelled, answers in inputs.values()}


def _pair_across_inputs(one: Answers, other: Answers) -> Iterator[tuple[Answer, Answer]]:
    """Pairs of every answer with the first answers to the other input."""
    yield from ((a, b) for a in one for b in other[:MAX_COMPARED_ANSWERS])
    yield from ((a, b) for b in other[MAX_COMPARED_ANSWERS:] for a in one[:MAX_COMPARED_ANSWERS])
