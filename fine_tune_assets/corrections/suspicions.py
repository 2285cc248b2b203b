"""What makes a correction suspicious, a function for each of the reasons of `quarantine`.

Owns the distance from what was approved (1 less the cosine of sentence embeddings), which examples a correction is held against,
who belongs to a flood, and the rule on access labels. Does not know the encoder, nor how near-same texts are found; when two
texts state the opposite (a number, a negation, a side) is the business of `claims`.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache

from fine_tune_assets.claims.saying import normal, said_by, states_otherwise
from fine_tune_assets.core.prompts.retrieval_contract import EVERYONE, are_for_everyone, bare_question
from fine_tune_assets.core.records import PairFinder
from fine_tune_assets.embeddings.encoder import Encode, means_of
from fine_tune_assets.tables.columns_in_common import Passage
from fine_tune_assets.tables.corrections import ScrubbedCorrection
from fine_tune_assets.tables.records import Record

COMPARED = 500
"""Approved answers of a task that a correction is compared with, the first ones by id. More cost time in proportion."""
_Kind = tuple[str, tuple[str, ...]]
NAMED = 20
"""As many contradicting examples are named at each correction: nobody reads more."""


class ApprovedAnswer(Record):
    """What of an approved example a correction is compared with."""

    example_id: str
    report_id: str
    task: str
    instruction: str
    input: str
    output: str


class CorrectionPassages(Record):
    """What a correction's answer was given from."""

    correction_id: str
    passages: tuple[Passage, ...] | None


class LabelledSource(Record):
    """Of a chunk of a document, who may see it."""

    source: str
    labels: tuple[str, ...]


def nearest_distances(
    corrections: Sequence[ScrubbedCorrection],
    approved: Sequence[ApprovedAnswer],
    task_of: Callable[[str], str],
    encode: Encode,
    minimum_examples: int,
) -> dict[str, float | None]:
    """Correction id → distance from the nearest approved output of its task, 0 to 2; None with too few to compare with.

    `task_of`: the task that an instruction belongs to.
    """
    outputs: dict[str, list[str]] = defaultdict(list)
    for example in sorted(approved, key=lambda example: example.example_id):
        outputs[example.task].append(example.output)
    by_task: dict[str, list[ScrubbedCorrection]] = defaultdict(list)
    for correction in corrections:
        by_task[task_of(correction.instruction)].append(correction)
    found: dict[str, float | None] = {correction.correction_id: None for correction in corrections}
    for task, of_task in by_task.items():
        known = outputs[task]
        if len(known) >= minimum_examples:
            known_vectors = means_of(*encode(known[:COMPARED]))
            distances = 1 - (means_of(*encode([one.output for one in of_task])) @ known_vectors.T).max(axis=1)
            found |= {one.correction_id: float(d) for one, d in zip(of_task, distances, strict=True)}
    return found


def contradicted_examples(
    corrections: Sequence[ScrubbedCorrection], approved: Sequence[ApprovedAnswer], find_pairs: PairFinder
) -> dict[str, list[str]]:
    """Correction id → ids of the approved examples with the same or nearly the same question that it contradicts; one that
    contradicts none is absent."""
    said = cache(said_by)
    found: dict[str, list[str]] = defaultdict(list)
    for correction, example in _same_questions(corrections, approved, find_pairs):
        named = found[correction.correction_id]
        if len(named) < NAMED and states_otherwise(said(correction.output), said(example.output)):
            named.append(example.example_id)
    return {correction_id: sorted(set(named)) for correction_id, named in found.items() if named}


def _same_questions(
    corrections: Sequence[ScrubbedCorrection], approved: Sequence[ApprovedAnswer], find_pairs: PairFinder
) -> Iterator[tuple[ScrubbedCorrection, ApprovedAnswer]]:
    corrected: dict[_Kind, list[ScrubbedCorrection]] = defaultdict(list)
    for correction in corrections:
        corrected[_kind_of_question(correction.instruction, correction.input)].append(correction)
    answered: dict[_Kind, list[ApprovedAnswer]] = defaultdict(list)
    for example in approved:
        answered[_kind_of_question(example.instruction, example.input)].append(example)
    for own, others in ((corrected[kind], answered[kind]) for kind in corrected if kind in answered):
        both: list[ScrubbedCorrection | ApprovedAnswer] = [*own, *others]
        texts = [bare_question(one.instruction, one.input).subject for one in both]
        groups = ["correction"] * len(own) + ["approved"] * len(others)
        for pair in find_pairs(texts, groups):
            first, second = sorted((pair.first, pair.second))
            yield own[first], others[second - len(own)]


def _kind_of_question(instruction: str, input_text: str) -> _Kind:
    """Inputs are compared under one instruction, without an input the instruction is what is asked; and under the same
    passages: of another version of a document another answer is right."""
    asked = bare_question(instruction, input_text)
    return normal(asked.instruction) if asked.input else "", asked.documents


def near_identical(corrections: Sequence[ScrubbedCorrection], find_pairs: PairFinder) -> dict[str, int]:
    """Correction id → how many corrections say nearly the same, itself included, whoever sent them.

    What is linked by a chain of near-same texts is one flood. Equal texts are one to `find_pairs`: ten thousand would else
    make fifty million pairs.
    """
    ids_by_text: dict[str, list[str]] = defaultdict(list)
    for one in corrections:
        ids_by_text[normal(f"{one.instruction}\n{one.input}\n{one.output}")].append(one.correction_id)
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


def passages_gone(corrections: Iterable[ScrubbedCorrection]) -> frozenset[str]:
    """Ids of those whose passages were in no index any more when they came."""
    return frozenset(one.correction_id for one in corrections if one.passages == ())


def closed_sources(chunks: Iterable[LabelledSource]) -> frozenset[str]:
    """Documents of `knowledge_chunks` that not everyone may see now."""
    return frozenset(chunk.source for chunk in chunks if EVERYONE not in chunk.labels)


def not_for_everyone(
    corrections: Iterable[ScrubbedCorrection | CorrectionPassages], closed: Collection[str]
) -> frozenset[str]:
    """Ids of those that rest on a passage which not everyone might see when they came, or whose document is in `closed` now."""
    return frozenset(one.correction_id for one in corrections if _is_closed(one.passages or (), closed))


def _is_closed(passages: Collection[Passage], closed: Collection[str]) -> bool:
    return not are_for_everyone(map(vars, passages)) or any(passage.source in closed for passage in passages)
