"""Finds a well and a badly graded answer of the newest comparison, next to the other model's answer to the same input."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.paths import Layout

MAX_TRIES = 10
"""Examples that may not be shown are skipped; after this many, none is shown."""
_COLUMNS = ["model", "adapter_id", "example_id", "subject_key", "answer", "score", "task"]


@dataclass(frozen=True)
class GradedAnswer:
    text: str
    grade: float | None
    """From 1 to 10; None if not graded."""


@dataclass(frozen=True)
class GradedExample:
    kind: Literal["good", "bad"]
    example_id: str
    subject_key: str
    task: str
    candidate: GradedAnswer
    other: GradedAnswer | None
    """Of the model that the candidate was compared with."""


@dataclass(frozen=True)
class GradedComparison:
    adapter_id: str
    """The candidate."""
    other: Literal["incumbent", "base"]
    examples: tuple[GradedExample, ...]
    """The best answer first, then the worst; fewer if none may be shown."""


def find_graded_examples(layout: Layout, may_show: Callable[[GradedExample], bool]) -> GradedComparison | None:
    """None if nothing was graded. `may_show`: whether the page may show the texts of an example."""
    path = layout.table("judge_scores")
    try:
        rows = pq.read_table(path, columns=_COLUMNS, partitioning=None).to_pylist() if path.is_file() else []
    except (OSError, pa.ArrowInvalid):
        return None  # replaced while it was read
    candidate = sorted(
        (row for row in rows if row["model"] == "adapter" and row["score"] is not None),
        key=lambda row: (-row["score"], row["example_id"]),
    )
    if not candidate:
        return None
    other: Literal["incumbent", "base"] = "incumbent" if any(row["model"] == "incumbent" for row in rows) else "base"
    answers = {row["example_id"]: row for row in rows if row["model"] == other}
    best = _find_first("good", candidate, answers, may_show)
    worst = _find_first("bad", candidate[::-1], answers, may_show)
    found = [example for example in (best, worst) if example is not None]
    is_same = len(found) == 2 and found[0].example_id == found[1].example_id
    return GradedComparison(candidate[0]["adapter_id"], other, tuple(found[:1] if is_same else found))


def _find_first(
    kind: Literal["good", "bad"],
    rows: Sequence[Mapping[str, Any]],
    answers: Mapping[str, Mapping[str, Any]],
    may_show: Callable[[GradedExample], bool],
) -> GradedExample | None:
    examples = (_make_example(kind, row, answers.get(row["example_id"])) for row in rows[:MAX_TRIES])
    return next((example for example in examples if may_show(example)), None)


def _make_example(
    kind: Literal["good", "bad"], row: Mapping[str, Any], other: Mapping[str, Any] | None
) -> GradedExample:
    return GradedExample(
        kind,
        row["example_id"],
        row["subject_key"],
        row["task"] or "",
        GradedAnswer(row["answer"], row["score"]),
        None if other is None else GradedAnswer(other["answer"], other["score"]),
    )
