"""Corrections that state the opposite of an approved example with the same or nearly the same question.

Owns what is compared with what. When two texts state the opposite (a number, a negation, a side) is the business of `claims`.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from fine_tune_assets.claims.saying import normal, said_by, states_otherwise
from fine_tune_assets.core.records import PairFinder
from fine_tune_assets.core.retrieval_contract import bare_question

NAMED = 20
"""As many contradicting examples are named at each correction: nobody reads more."""
_CORRECTION, _APPROVED = "correction", "approved"


def contradicted_examples(
    corrections: Sequence[Mapping[str, Any]], approved: Sequence[Mapping[str, Any]], find_pairs: PairFinder
) -> dict[str, list[str]]:
    """Correction id → ids of the approved examples that it contradicts; one that contradicts none is absent."""
    said = cache(said_by)
    found: dict[str, list[str]] = defaultdict(list)
    for correction, example in _same_questions(corrections, approved, find_pairs):
        named = found[correction["correction_id"]]
        if len(named) < NAMED and states_otherwise(said(correction["output"]), said(example["output"])):
            named.append(example["example_id"])
    return {correction_id: sorted(set(named)) for correction_id, named in found.items() if named}


def _same_questions(
    corrections: Sequence[Mapping[str, Any]], approved: Sequence[Mapping[str, Any]], find_pairs: PairFinder
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    asked: dict[tuple[str, tuple[str, ...]], tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]] = defaultdict(
        lambda: ([], [])
    )
    for place, rows in enumerate((corrections, approved)):
        for row in rows:
            asked[_kind_of_question(row)][place].append(row)
    for own, others in asked.values():
        if own and others:
            yield from _pairs(own, others, find_pairs)


def _pairs(
    own: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], find_pairs: PairFinder
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    texts = [bare_question(row["instruction"], row["input"]).subject for row in (*own, *others)]
    groups = [_CORRECTION] * len(own) + [_APPROVED] * len(others)
    for pair in find_pairs(texts, groups):
        first, second = sorted((pair.first, pair.second))
        yield own[first], others[second - len(own)]


def _kind_of_question(row: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Inputs are compared under one instruction, without an input the instruction is what is asked; and under the same
    passages: of another version of a document another answer is right."""
    asked = bare_question(row["instruction"], row["input"])
    return normal(asked.instruction) if asked.input else "", asked.documents
