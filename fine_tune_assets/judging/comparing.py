"""Answers of candidate and incumbent to the same frozen test examples, graded one by one.

Owns choosing the examples and grading. Generation is a function that the caller passes in.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.numbers import unsupported_numbers
from fine_tune_assets.core.progress import silent
from fine_tune_assets.core.tables import JUDGE_SCORES, table_of
from fine_tune_assets.engines.transformers_models import Answer
from fine_tune_assets.judging.grades import Answered, Grade
from fine_tune_assets.judging.offline_judge import offline_judge

Generate = Callable[[Sequence[Sequence[dict[str, str]]]], list[Answer]]
"""Conversations that end at the user's turn → one answer each."""


@dataclass(frozen=True)
class Contestant:
    role: str
    """`base`, `adapter` or `incumbent`."""
    fingerprint: str
    generate: Generate


def test_examples(instruction_set: pa.Table, limit: int) -> list[dict[str, Any]]:
    """At most `limit` test examples, always the same ones: in the order of a hash of their ids."""
    rows = [row for row in instruction_set.to_pylist() if row["split"] == "test"]
    return sorted(rows, key=lambda row: (fingerprint_text(row["example_id"]), row["example_id"]))[:limit]


def grade_contestants(
    examples: Sequence[Mapping[str, Any]], contestants: Sequence[Contestant], adapter_id: str
) -> pa.Table:
    """One row for each contestant and example."""
    rows: list[dict[str, Any]] = []
    judge = offline_judge()
    for contestant in contestants:
        answers = contestant.generate([example["messages"][:-1] for example in examples])
        asked = [_answered(example, answer) for example, answer in zip(examples, answers, strict=True)]
        told = {"adapter_id": adapter_id, "judge_version": judge.version}
        rows += [
            {**told, **_row(contestant, example, answer, grade)}
            for example, answer, grade in zip(examples, answers, judge.grade(asked, silent), strict=True)
        ]
    return table_of(rows, JUDGE_SCORES)


def _answered(example: Mapping[str, Any], answer: Answer) -> Answered:
    question, reference = (example["messages"][place]["content"] for place in (-2, -1))
    return Answered(example["example_id"], example["task"], "", question, answer.text, reference)


def _row(contestant: Contestant, example: Mapping[str, Any], answer: Answer, grade: Grade) -> dict[str, Any]:
    return {
        "model": contestant.role,
        "model_fingerprint": contestant.fingerprint,
        "example_id": example["example_id"],
        "patient_key": example["patient_key"],
        "answer": answer.text,
        "score": grade.score,
        "reason": grade.reason,
        "unsupported_numbers": len(unsupported_numbers(answer.text, example["messages"][-2]["content"])),
        "is_finished": answer.is_finished,
    }
