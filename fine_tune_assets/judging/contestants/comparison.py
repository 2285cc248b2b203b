"""Answers of candidate and incumbent to the same frozen test examples, their grades, and which of two a judge prefers.

Owns choosing the examples, keeping answers, grading, and pairing. Generation and judge are the caller's: all contestants answer
first, so that their memory can be given back before a judge takes it.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.engines.transformers_models import Answer
from fine_tune_assets.judging.judges.grade_cache import GradeCache, content_key
from fine_tune_assets.judging.judges.grades import Answered, AskedExample, Grade, Judge, Pair, Preference, as_asked
from fine_tune_assets.quantities.numbers import unsupported_numbers
from fine_tune_assets.tables.judging import JudgeScore
from fine_tune_assets.tables.records import records_of, table_from

Generate = Callable[[Sequence[Sequence[dict[str, str]]]], list[Answer]]
"""Conversations that end at the user's turn → one answer each."""
CANDIDATE = "adapter"
"""The role of what is judged."""
_EQUAL = Preference(0.5, None, "the two answers are the same")


@dataclass(frozen=True)
class Contestant:
    role: str
    """`base`, `adapter` or `incumbent`."""
    fingerprint: str
    generate: Generate
    decided_by: Mapping[str, Any] = field(default_factory=dict)
    """What decides an answer besides the fingerprint and the conversation, as JSON."""


@dataclass(frozen=True)
class Answering:
    """A contestant's answer to an example."""

    contestant: Contestant
    example: AskedExample
    answer: Answer

    @property
    def answered(self) -> Answered:
        """In the form that a judge grades."""
        return as_asked(self.example, self.example.example_id, self.answer.text)


def test_examples(instruction_set: pa.Table, limit: int) -> list[AskedExample]:
    """At most `limit` test examples, always the same ones: in the order of a hash of their ids."""
    rows = records_of(AskedExample, instruction_set.filter(pc.equal(instruction_set.column("split"), "test")))
    return sorted(rows, key=lambda row: (fingerprint_text(row.example_id), row.example_id))[:limit]


def answer_all(
    examples: Sequence[AskedExample], contestants: Sequence[Contestant], cache: GradeCache
) -> list[Answering]:
    """One for each contestant and example. What a contestant answered before is not generated again."""
    conversations = [example.question for example in examples]
    return [
        Answering(contestant, example, answer)
        for contestant in contestants
        for example, answer in zip(examples, _answers(contestant, conversations, cache), strict=True)
    ]


def _answers(
    contestant: Contestant, conversations: Sequence[Sequence[dict[str, str]]], cache: GradeCache
) -> Iterator[Answer]:
    decided_by = {"model": contestant.fingerprint, **contestant.decided_by}
    keys = [content_key(answered_by=decided_by, conversation=list(c)) for c in conversations]
    kept = {key: Answer(**value) for key, value in cache.get(keys).items()}
    waiting = {key: c for key, c in zip(keys, conversations, strict=True) if key not in kept}
    if waiting:
        fresh = dict(zip(waiting, contestant.generate(list(waiting.values())), strict=True))
        cache.put({key: asdict(answer) for key, answer in fresh.items()}, contestant.fingerprint)
        kept |= fresh
    return (kept[key] for key in keys)


def grade_answers(
    answers: Sequence[Answering], judge: Judge, adapter_id: str, incumbent: str, progress: Progress
) -> pa.Table:
    """One row for each answer. The candidate's say as well whether the judge prefers them to the incumbent's."""
    grades = judge.grade([answering.answered for answering in answers], progress)
    scores = [_score(answering, grade, judge, adapter_id) for answering, grade in zip(answers, grades, strict=True)]
    preferred = {} if judge.kind == "offline" else compare_answers(answers, judge, incumbent, progress)
    compared = (
        _compared(score, incumbent, preferred.get(score.example_id)) if score.model == CANDIDATE else score
        for score in scores
    )
    return table_from(JudgeScore, compared)


def compare_answers(
    answers: Sequence[Answering], judge: Judge, incumbent: str, progress: Progress
) -> dict[str, Preference]:
    """Example → how much the judge prefers the candidate's answer to the incumbent's. Equal texts are not asked about."""
    candidate = {a.example.example_id: a.answered for a in answers if a.contestant.role == CANDIDATE}
    other = {
        a.example.example_id: a.answer.text
        for a in answers
        if a.contestant.role != CANDIDATE and a.contestant.fingerprint == incumbent
    }
    pairs = [_pair(answered, other[example]) for example, answered in candidate.items() if example in other]
    asked = [pair for pair in pairs if pair.output_1 != pair.output_2]
    found = dict(zip((pair.id for pair in asked), judge.compare(asked, progress), strict=True))
    return {pair.id: found.get(pair.id, _EQUAL) for pair in pairs}


def _pair(answered: Answered, other: str) -> Pair:
    asked = {name: value for name, value in vars(answered).items() if name != "output"}
    return Pair(**asked, output_1=answered.output, output_2=other)


def _score(answering: Answering, grade: Grade, judge: Judge, adapter_id: str) -> JudgeScore:
    example, answer = answering.example, answering.answer
    criteria = asdict(grade)["criteria"]
    return JudgeScore(
        model=answering.contestant.role,
        model_fingerprint=answering.contestant.fingerprint,
        adapter_id=adapter_id,
        example_id=example.example_id,
        patient_key=example.patient_key,
        answer=answer.text,
        score=grade.score,
        reason=grade.reason,
        unsupported_numbers=len(unsupported_numbers(answer.text, example.messages[-2].content)),
        is_finished=answer.is_finished,
        judge_version=judge.version,
        judge_kind=judge.kind,
        task=example.task,
        criteria=json.dumps(criteria, ensure_ascii=False) if criteria else None,
        compared_with=None,
        preference=None,
        is_consistent=None,
        preference_reason=None,
    )


def _compared(score: JudgeScore, incumbent: str, found: Preference | None) -> JudgeScore:
    if found is None:
        return score
    return replace(
        score,
        compared_with=incumbent,
        preference=found.probability,
        is_consistent=found.is_consistent,
        preference_reason=found.reason,
    )
