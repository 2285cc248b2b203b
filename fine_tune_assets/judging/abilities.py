"""What the candidate still knows: general multiple-choice questions, answered by log-likelihood.

Owns reading the questions, choosing a seeded sample, and the paired comparison. Scoring a choice is a function that the
caller passes in. The choice with the highest sum of log-probabilities per character wins (acc_norm of lm-eval-harness).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.tables import RETAINED_ABILITIES, table_of
from fine_tune_assets.judging.statistics import mean_interval

Score = Callable[[Sequence[tuple[str, str]]], list[float]]
"""(context, continuation) pairs → sum of log-probabilities of each continuation."""


@dataclass(frozen=True)
class Question:
    query: str
    choices: tuple[str, ...]
    gold: int


def read_questions(path: Path, limit: int) -> list[Question]:
    """At most `limit` questions of a JSONL file with `query`, `choices` and `gold`, always the same ones."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        questions = [Question(row["query"], tuple(row["choices"]), int(row["gold"])) for row in rows]
    except (OSError, ValueError, KeyError) as error:
        raise GateClosedError(f"The questions {path.name} can't be read ({type(error).__name__}).") from error
    return sorted(questions, key=lambda q: fingerprint_text(q.query))[:limit]


def answer_questions(questions: Sequence[Question], score: Score) -> list[bool]:
    """Whether each question is answered rightly."""
    pairs = [(q.query, " " + choice.strip()) for q in questions for choice in q.choices]
    scores = iter(score(pairs))
    right = []
    for question in questions:
        per_character = [next(scores) / max(1, len(choice.strip())) for choice in question.choices]
        right.append(per_character.index(max(per_character)) == question.gold)
    return right


def compare_abilities(adapter_id: str, results: Mapping[str, tuple[Sequence[bool], Sequence[bool]]]) -> pa.Table:
    """One row for each ability: `results` maps its name to the base model's and the candidate's right answers."""
    return table_of([_row(adapter_id, name, *pair) for name, pair in sorted(results.items())], RETAINED_ABILITIES)


def _row(adapter_id: str, name: str, base: Sequence[bool], adapter: Sequence[bool]) -> dict[str, Any]:
    differences = [float(a) - float(b) for a, b in zip(adapter, base, strict=True)]
    interval = mean_interval(differences, [str(i) for i in range(len(differences))])
    return {
        "ability": name,
        "adapter_id": adapter_id,
        "items": len(base),
        "base_accuracy": sum(base) / len(base),
        "adapter_accuracy": sum(adapter) / len(adapter),
        "low": interval.low,
        "high": interval.high,
    }
