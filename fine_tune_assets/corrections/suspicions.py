"""What makes a correction suspicious, a function for each of the reasons of `quarantine`.

Owns the distance from what was approved (1 less the cosine of sentence embeddings), which examples a correction is held against,
who belongs to a flood, and the rule on access labels. Does not know the encoder, nor how near-same texts are found; when two
texts state the opposite (a number, a negation, a side) is the business of `claims`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from fine_tune_assets.claims.saying import normal, said_by, states_otherwise
from fine_tune_assets.core.prompts.retrieval_contract import EVERYONE, are_for_everyone, bare_question
from fine_tune_assets.core.records import PairFinder
from fine_tune_assets.embeddings.encoder import Encode, means_of

Row = Mapping[str, Any]
COMPARED = 500
"""Approved answers of a task that a correction is compared with, the first ones by id. More cost time in proportion."""
NAMED = 20
"""As many contradicting examples are named at each correction: nobody reads more."""


def nearest_distances(
    corrections: Sequence[Row], approved: Sequence[Row], encode: Encode, minimum_examples: int
) -> dict[str, float | None]:
    """Correction id → distance from the nearest approved output of its task, 0 to 2; None with too few to compare with."""
    outputs: dict[str, list[str]] = defaultdict(list)
    for row in sorted(approved, key=lambda row: str(row["example_id"])):
        outputs[row["task"]].append(row["output"])
    by_task: dict[str, list[Row]] = defaultdict(list)
    for row in corrections:
        by_task[row["task"]].append(row)
    found: dict[str, float | None] = {row["correction_id"]: None for row in corrections}
    for task, rows in by_task.items():
        known = outputs[task]
        if len(known) >= minimum_examples:
            known_vectors = means_of(*encode(known[:COMPARED]))
            distances = 1 - (means_of(*encode([row["output"] for row in rows])) @ known_vectors.T).max(axis=1)
            found |= {row["correction_id"]: float(d) for row, d in zip(rows, distances, strict=True)}
    return found


def contradicted_examples(
    corrections: Sequence[Row], approved: Sequence[Row], find_pairs: PairFinder
) -> dict[str, list[str]]:
    """Correction id → ids of the approved examples with the same or nearly the same question that it contradicts; one that
    contradicts none is absent."""
    said = cache(said_by)
    found: dict[str, list[str]] = defaultdict(list)
    for correction, example in _same_questions(corrections, approved, find_pairs):
        named = found[correction["correction_id"]]
        if len(named) < NAMED and states_otherwise(said(correction["output"]), said(example["output"])):
            named.append(example["example_id"])
    return {correction_id: sorted(set(named)) for correction_id, named in found.items() if named}


def _same_questions(
    corrections: Sequence[Row], approved: Sequence[Row], find_pairs: PairFinder
) -> Iterator[tuple[Row, Row]]:
    asked: dict[tuple[str, tuple[str, ...]], tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for place, rows in enumerate((corrections, approved)):
        for row in rows:
            asked[_kind_of_question(row)][place].append(row)
    for own, others in (both for both in asked.values() if all(both)):
        texts = [bare_question(row["instruction"], row["input"]).subject for row in (*own, *others)]
        groups = ["correction"] * len(own) + ["approved"] * len(others)
        for pair in find_pairs(texts, groups):
            first, second = sorted((pair.first, pair.second))
            yield own[first], others[second - len(own)]


def _kind_of_question(row: Row) -> tuple[str, tuple[str, ...]]:
    """Inputs are compared under one instruction, without an input the instruction is what is asked; and under the same
    passages: of another version of a document another answer is right."""
    asked = bare_question(row["instruction"], row["input"])
    return normal(asked.instruction) if asked.input else "", asked.documents


def near_identical(corrections: Sequence[Row], find_pairs: PairFinder) -> dict[str, int]:
    """Correction id → how many corrections say nearly the same, itself included, whoever sent them.

    What is linked by a chain of near-same texts is one flood. Equal texts are one to `find_pairs`: ten thousand would else
    make fifty million pairs.
    """
    ids_by_text: dict[str, list[str]] = defaultdict(list)
    for row in corrections:
        ids_by_text[normal(f"{row['instruction']}\n{row['input']}\n{row['output']}")].append(row["correction_id"])
    texts = list(ids_by_text)
    leaders = list(range(len(texts)))

    def leader_of(place: int) -> int:
        while leaders[place] != place:
            place = leaders[place]
        return place

    for pair in find_pairs(texts, [str(place) for place in range(len(texts))]):
        leaders[leader_of(pair.first)] = leader_of(pair.second)
    sizes: dict[int, int] = defaultdict(int)
    for place, text in enumerate(texts):
        sizes[leader_of(place)] += len(ids_by_text[text])
    return {one: sizes[leader_of(place)] for place, text in enumerate(texts) for one in ids_by_text[text]}


def passages_gone(corrections: Iterable[Row]) -> frozenset[str]:
    """Ids of those whose passages were in no index any more when they came."""
    return frozenset(str(row["correction_id"]) for row in corrections if row["passages"] == [])


def closed_sources(chunks: Iterable[Row]) -> frozenset[str]:
    """Documents of `knowledge_chunks` that not everyone may see now."""
    return frozenset(str(row["source"]) for row in chunks if EVERYONE not in row["labels"])


def not_for_everyone(corrections: Iterable[Row], closed: Collection[str]) -> frozenset[str]:
    """Ids of those that rest on a passage which not everyone might see when they came, or whose document is in `closed` now."""
    return frozenset(str(row["correction_id"]) for row in corrections if _is_closed(row["passages"] or (), closed))


def _is_closed(passages: Collection[Row], closed: Collection[str]) -> bool:
    return not are_for_everyone(passages) or any(row["source"] in closed for row in passages)
