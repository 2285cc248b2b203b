"""Measures what makes a correction suspicious, with a function for each reason of `quarantine_rules`.

Distance is 1 minus the cosine similarity of sentence embeddings. The encoder and the near-duplicate search are passed in;
`claims` decides whether two texts contradict each other (a number, a negation, a side).
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache, partial

from fine_tune_assets.claims.dialogues import iter_sentence_bounds
from fine_tune_assets.claims.statements import extract_statements, has_conflicting_facts, normalize_text
from fine_tune_assets.core.people import person_key
from fine_tune_assets.core.prompts.retrieval_contract import EVERYONE, are_public, strip_passages
from fine_tune_assets.core.shared_records import PairFinder
from fine_tune_assets.embeddings.encoder import Encode, mean_vectors
from fine_tune_assets.tables.common_columns import Passage
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection
from fine_tune_assets.tables.record_classes import Record

MAX_COMPARED_ANSWERS = 500
"""Approved answers per task that a correction is compared with, first by id. Cost grows in proportion."""
_QuestionKey = tuple[str, tuple[str, ...]]
MIN_SENTENCE_WORDS = 6
"""Words of a sentence whose repetition counts: shorter ones, such as "See your doctor again.", are usual in answers."""
MAX_CONTRADICTED_EXAMPLES = 20
"""Maximum number of contradicting examples listed per correction."""


class ApprovedAnswer(Record):
    """The fields of an approved example that corrections are compared with."""

    example_id: str
    report_id: str
    task: str
    instruction: str
    input: str
    output: str


class CorrectionPassages(Record):
    """The passages that the corrected answer was based on."""

    correction_id: str
    passages: tuple[Passage, ...] | None


class LabelledSource(Record):
    """Who may see a document chunk."""

    source: str
    labels: tuple[str, ...]


def nearest_distances(
    corrections: Sequence[ScrubbedCorrection],
    approved: Sequence[ApprovedAnswer],
    task_of: Callable[[str], str],
    encode: Encode,
    minimum_examples: int,
) -> dict[str, float | None]:
    """Return the distance of each correction to the nearest approved output of its task, 0 to 2; None with too few outputs.

    `task_of`: instruction → task.
    """
    outputs: dict[str, list[str]] = defaultdict(list)
    for example in sorted(approved, key=lambda example: example.example_id):
        outputs[example.task].append(example.output)
    by_task: dict[str, list[ScrubbedCorrection]] = defaultdict(list)
    for correction in corrections:
        by_task[task_of(correction.instruction)].append(correction)
    nearest: dict[str, float | None] = {correction.correction_id: None for correction in corrections}
    for task, of_task in by_task.items():
        known = outputs[task]
        if len(known) >= minimum_examples:
            known_vectors = mean_vectors(*encode(known[:MAX_COMPARED_ANSWERS]))
            distances = 1 - (mean_vectors(*encode([one.output for one in of_task])) @ known_vectors.T).max(axis=1)
            nearest |= {one.correction_id: float(d) for one, d in zip(of_task, distances, strict=True)}
    return nearest


def contradicted_examples(
    corrections: Sequence[ScrubbedCorrection],
    approved: Sequence[ApprovedAnswer],
    find_pairs: PairFinder,
    checks: Collection[str],
) -> dict[str, list[str]]:
    """Map correction ids to contradicted approved examples with nearly the same question; without empty entries.

    `checks` are the grounding checks of the domain pack.
    """
    statements_of = cache(partial(extract_statements, checks=checks))
    contradictions: dict[str, list[str]] = defaultdict(list)
    for correction, example in _matching_questions(corrections, approved, find_pairs):
        example_ids = contradictions[correction.correction_id]
        if len(example_ids) < MAX_CONTRADICTED_EXAMPLES and has_conflicting_facts(
            statements_of(correction.output), statements_of(example.output)
        ):
            example_ids.append(example.example_id)
    return {
        correction_id: sorted(set(example_ids)) for correction_id, example_ids in contradictions.items() if example_ids
    }


def _matching_questions(
    corrections: Sequence[ScrubbedCorrection], approved: Sequence[ApprovedAnswer], find_pairs: PairFinder
) -> Iterator[tuple[ScrubbedCorrection, ApprovedAnswer]]:
    corrected: dict[_QuestionKey, list[ScrubbedCorrection]] = defaultdict(list)
    for correction in corrections:
        corrected[_question_key(correction.instruction, correction.input)].append(correction)
    answered: dict[_QuestionKey, list[ApprovedAnswer]] = defaultdict(list)
    for example in approved:
        answered[_question_key(example.instruction, example.input)].append(example)
    for corrections_of_kind, others in ((corrected[kind], answered[kind]) for kind in corrected if kind in answered):
        both: list[ScrubbedCorrection | ApprovedAnswer] = [*corrections_of_kind, *others]
        texts = [strip_passages(one.instruction, one.input).topic for one in both]
        groups = ["correction"] * len(corrections_of_kind) + ["approved"] * len(others)
        for pair in find_pairs(texts, groups):
            first, second = sorted((pair.first, pair.second))
            yield corrections_of_kind[first], others[second - len(corrections_of_kind)]


def _question_key(instruction: str, input_text: str) -> _QuestionKey:
    """Inputs are compared under the same instruction; without an input, the instruction is the question.

    Passages must be the same too: another version of a document justifies another answer.
    """
    question = strip_passages(instruction, input_text)
    return normalize_text(question.instruction) if question.input else "", question.documents


def count_near_identical(corrections: Sequence[ScrubbedCorrection], find_pairs: PairFinder) -> dict[str, int]:
    """Return how many corrections are nearly identical to each one, itself included, from all senders.

    A chain of near duplicates is one flood. Equal texts are passed to `find_pairs` once: ten thousand would otherwise make fifty
    million pairs.
    """
    ids_by_text: dict[str, list[str]] = defaultdict(list)
    for one in corrections:
        ids_by_text[normalize_text(f"{one.instruction}\n{one.input}\n{one.output}")].append(one.correction_id)
    leaders = _find_leaders(list(ids_by_text), find_pairs)
    sizes: dict[str, int] = defaultdict(int)
    for text, ids in ids_by_text.items():
        sizes[leaders[text]] += len(ids)
    return {one: sizes[leaders[text]] for text, ids in ids_by_text.items() for one in ids}


def count_repeated_sentences(
    corrections: Sequence[ScrubbedCorrection], approved: Sequence[ApprovedAnswer], find_pairs: PairFinder
) -> dict[str, int]:
    """In how many corrections of its author each correction's most repeated added sentence occurs, or nearly the same one.

    A sentence is added if neither the question, nor the model's answer, nor an approved example has it. This finds one message in
    answers to many questions, which differ as whole texts. Omits corrections that add no sentence.
    """
    known = {sentence for example in approved for sentence in _long_sentences(example.output)}
    by_author: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for one in corrections:
        given = f" {normalize_text(f'{one.instruction} {one.input} {one.answer or str()}')} "
        for sentence in _long_sentences(one.output) - known:
            if f" {sentence} " not in given:
                by_author[person_key(one.author)][sentence].add(one.correction_id)
    counts: dict[str, int] = defaultdict(int)
    for ids_by_sentence in by_author.values():
        leaders, together = _find_leaders(list(ids_by_sentence), find_pairs), defaultdict[str, set[str]](set)
        for sentence, ids in ids_by_sentence.items():
            together[leaders[sentence]] |= ids
        for ids in together.values():
            for correction_id in ids:
                counts[correction_id] = max(counts[correction_id], len(ids))
    return dict(counts)


def _long_sentences(text: str) -> set[str]:
    """Normalized, without those that are too short to say anything about their author."""
    sentences = (normalize_text(text[start:end]) for start, end in iter_sentence_bounds(text))
    return {sentence for sentence in sentences if len(sentence.split()) >= MIN_SENTENCE_WORDS}


def _find_leaders(texts: Sequence[str], find_pairs: PairFinder) -> dict[str, str]:
    """One text for each chain of near duplicates."""
    leaders = {text: text for text in texts}

    def leader_of(text: str) -> str:
        while leaders[text] != text:
            text = leaders[text]
        return text

    for pair in find_pairs(texts, [str(place) for place in range(len(texts))]):
        leaders[leader_of(texts[pair.first])] = leader_of(texts[pair.second])
    return {text: leader_of(text) for text in texts}


def find_missing_passages(corrections: Iterable[ScrubbedCorrection]) -> frozenset[str]:
    """Ids of corrections whose passages no index contained when they arrived."""
    return frozenset(one.correction_id for one in corrections if one.passages == ())


def find_restricted_sources(chunks: Iterable[LabelledSource]) -> frozenset[str]:
    """Documents of `knowledge_chunks` that not everyone may see now."""
    return frozenset(chunk.source for chunk in chunks if EVERYONE not in chunk.labels)


def find_restricted_corrections(
    corrections: Iterable[ScrubbedCorrection | CorrectionPassages], restricted_sources: Collection[str]
) -> frozenset[str]:
    """Ids of corrections that rest on a passage that was restricted when they arrived, or whose document is in
    `restricted_sources` now."""
    return frozenset(one.correction_id for one in corrections if _is_restricted(one.passages or (), restricted_sources))


def _is_restricted(passages: Collection[Passage], restricted_sources: Collection[str]) -> bool:
    return not are_public(map(vars, passages)) or any(passage.source in restricted_sources for passage in passages)
