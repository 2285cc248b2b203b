"""Collects the answers of candidate and incumbent to the same test examples, grades them and compares them in pairs.

All models answer before the judge starts, so that their memory can be freed for it. Generation and judge are passed in.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.progress import Progress
from fine_tune_assets.engines.transformers_models import Answer
from fine_tune_assets.judging.judges.grade_cache import GradeCache, content_key
from fine_tune_assets.judging.judges.grades import (
    AnswerPair,
    EvaluationExample,
    GradableAnswer,
    Grade,
    Judge,
    Preference,
    gradable_answer,
)
from fine_tune_assets.quantities.numbers import find_unsupported_numbers
from fine_tune_assets.tables.judging_rows import JudgeScore
from fine_tune_assets.tables.record_classes import table_from_records

Generate = Callable[[Sequence[Sequence[dict[str, str]]]], list[Answer]]
"""Conversations that end with the user's turn → one answer each."""
CANDIDATE = "adapter"
"""The role of the candidate."""
_SAME_ANSWER = Preference(0.5, None, "the two answers are equal")


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


def grade_answers(
    answers: Sequence[ContestantAnswer], judge: Judge, adapter_id: str, incumbent: str, progress: Progress
) -> pa.Table:
    """One row per answer. The candidate's rows also hold the judge's preference over the incumbent's answer."""
    gradable = [answering.gradable for answering in answers]
    grades = judge.grade(gradable, progress)
    scores = [_score_row(answering, grade, judge, adapter_id) for answering, grade in zip(answers, grades, strict=True)]
    # A verifier's preferences follow from its grades and would only repeat them.
    preferred = {} if judge.kind == "verifier" else compare_answers(answers, judge, incumbent, progress)
    compared = (
        _add_preference(score, incumbent, preferred.get(score.example_id)) if score.model == CANDIDATE else score
        for score in scores
    )
    return table_from_records(JudgeScore, compared)


def compare_answers(
    answers: Sequence[ContestantAnswer], judge: Judge, incumbent: str, progress: Progress
) -> dict[str, Preference]:
    """Example → the judge's preference for the candidate's answer over the incumbent's. Equal texts are not sent to the judge."""
    candidate = {a.example.example_id: a.gradable for a in answers if a.contestant.role == CANDIDATE}
    other = {
        a.example.example_id: a.answer.text
        for a in answers
        if a.contestant.role != CANDIDATE and a.contestant.fingerprint == incumbent
    }
    pairs = [_pair(answered, other[example]) for example, answered in candidate.items() if example in other]
    different = [pair for pair in pairs if pair.output_1 != pair.output_2]
    found = dict(zip((pair.id for pair in different), judge.compare(different, progress), strict=True))
    return {pair.id: found.get(pair.id, _SAME_ANSWER) for pair in pairs}


def _pair(answered: GradableAnswer, other: str) -> AnswerPair:
    shared = {name: value for name, value in vars(answered).items() if name != "output"}
    return AnswerPair(**shared, output_1=answered.output, output_2=other)


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
        compared_model_fingerprint=None,
        preference=None,
        is_position_consistent=None,
        preference_reason=None,
    )


def _add_preference(score: JudgeScore, incumbent: str, found: Preference | None) -> JudgeScore:
    if found is None:
        return score
    return replace(
        score,
        compared_model_fingerprint=incumbent,
        preference=found.probability,
        is_position_consistent=found.is_position_consistent,
        preference_reason=found.reason,
    )
