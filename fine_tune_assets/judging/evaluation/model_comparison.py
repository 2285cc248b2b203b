"""Collects the answers of candidate and incumbent to the same test examples, and grades them.

All models answer before the judge starts, so that their memory can be freed for it. Generation and judge are passed in.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.progress import Progress
from fine_tune_assets.engines.transformers_models import Answer
from fine_tune_assets.judging.judges.grade_cache import GradeCache, content_key
from fine_tune_assets.judging.judges.grades import (
    EvaluationExample,
    GradableAnswer,
    Grade,
    Judge,
    gradable_answer,
)
from fine_tune_assets.quantities.numbers import find_unsupported_numbers
from fine_tune_assets.tables.judging_rows import JudgeScore
from fine_tune_assets.tables.record_classes import table_from_records

Generate = Callable[[Sequence[Sequence[dict[str, str]]]], list[Answer]]
"""Conversations that end with the user's turn → one answer each."""
CANDIDATE = "adapter"
"""The role of the candidate."""


@dataclass(frozen=True)
class Contestant:
    role: str
    """`base`, `adapter` or `incumbent`."""
    fingerprint: str
    generate: Generate
    generation_settings: Mapping[str, Any] = field(default_factory=dict)
    """What affects an answer besides the fingerprint and the conversation, as JSON."""


@dataclass(frozen=True)
class ContestantAnswer:
    contestant: Contestant
    example: EvaluationExample
    answer: Answer

    @property
    def gradable(self) -> GradableAnswer:
        return gradable_answer(self.example, self.example.example_id, self.answer.text)


def collect_answers(
    examples: Sequence[EvaluationExample], contestants: Sequence[Contestant], cache: GradeCache
) -> list[ContestantAnswer]:
    """One answer per contestant and example. Cached answers are not generated again."""
    conversations = [example.question for example in examples]
    return [
        ContestantAnswer(contestant, example, answer)
        for contestant in contestants
        for example, answer in zip(examples, _cached_answers(contestant, conversations, cache), strict=True)
    ]


def _cached_answers(
    contestant: Contestant, conversations: Sequence[Sequence[dict[str, str]]], cache: GradeCache
) -> Iterator[Answer]:
    decided_by = {"model": contestant.fingerprint, **contestant.generation_settings}
    keys = [content_key(answered_by=decided_by, conversation=list(c)) for c in conversations]
    answers = {key: Answer(**value) for key, value in cache.get(keys).items()}
    uncached = {key: c for key, c in zip(keys, conversations, strict=True) if key not in answers}
    if uncached:
        generated = dict(zip(uncached, contestant.generate(list(uncached.values())), strict=True))
        cache.put({key: asdict(answer) for key, answer in generated.items()}, contestant.fingerprint)
        answers |= generated
    return (answers[key] for key in keys)


def grade_answers(answers: Sequence[ContestantAnswer], judge: Judge, adapter_id: str, progress: Progress) -> pa.Table:
    """One row per answer."""
    grades = judge.grade([answering.gradable for answering in answers], progress)
    scores = (_score_row(answering, grade, judge, adapter_id) for answering, grade in zip(answers, grades, strict=True))
    return table_from_records(JudgeScore, scores)


def _score_row(answering: ContestantAnswer, grade: Grade, judge: Judge, adapter_id: str) -> JudgeScore:
    example, answer = answering.example, answering.answer
    criteria, statements = asdict(grade)["criteria"], [asdict(one) for one in grade.statements]
    return JudgeScore(
        model=answering.contestant.role,
        model_fingerprint=answering.contestant.fingerprint,
        adapter_id=adapter_id,
        example_id=example.example_id,
        subject_key=example.subject_key,
        answer=answer.text,
        score=grade.score,
        reason=grade.reason,
        unsupported_numbers=len(find_unsupported_numbers(answer.text, example.messages[-2].content)),
        is_finished=answer.is_finished,
        judge_version=judge.version,
        judge_kind=judge.kind,
        task=example.task,
        criteria=json.dumps(criteria, ensure_ascii=False) if criteria else None,
        statements=json.dumps(statements, ensure_ascii=False) if statements else None,
    )
