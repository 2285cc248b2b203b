"""Reads what the judge read in the newest graded comparison: the criteria and statements of each answer.

Caches summaries without texts until the table's file changes. Texts are read for each page and never cached. A table that is
being replaced counts as missing.
"""

import math
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.judging.judges.grades import CheckedStatement, Criterion

OtherModel = Literal["incumbent", "base"]
Role = Literal["candidate", "incumbent", "base"]
_ROLES: Final[Mapping[str, Role]] = {"adapter": "candidate", "incumbent": "incumbent", "base": "base"}
_COLUMNS: Final = (
    "model", "model_fingerprint", "adapter_id", "example_id", "subject_key", "task", "answer", "score", "reason", "judge_version",
    "judge_kind", "criteria", "statements",
)  # fmt: skip
_CRITERIA = TypeAdapter(dict[str, Criterion])
_STATEMENTS = TypeAdapter(tuple[CheckedStatement, ...])
_Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class AnswerSummary:
    """An answer without its texts."""

    answer_fingerprint: str
    grade: float | None
    """From 1 to 10; None if not graded."""
    criteria: Mapping[str, float]
    """Criterion → grade; criteria without a grade are absent."""
    statements: Mapping[str, int]
    """Criterion → number of checked statements."""
    unsupported: Mapping[str, int]
    """Criterion → of these, the number that is not supported."""


@dataclass(frozen=True)
class ExampleSummary:
    example_id: str
    task: str
    candidate: AnswerSummary
    other: AnswerSummary | None
    """Of the model that the candidate was compared with."""

    @property
    def answers(self) -> tuple[AnswerSummary, ...]:
        return (self.candidate,) if self.other is None else (self.candidate, self.other)


@dataclass(frozen=True)
class ComparisonSummary:
    adapter_id: str
    """The candidate."""
    other: OtherModel
    other_fingerprint: str
    """Empty without a compared model."""
    examples: tuple[ExampleSummary, ...]

    def count_statements(self, criteria: Iterable[str]) -> dict[str, tuple[int, int]]:
        """`candidate` or `other` → statements of these criteria that are not supported, and all of them."""
        names = set(criteria)
        sides = {
            "candidate": [found.candidate for found in self.examples],
            "other": [found.other for found in self.examples if found.other is not None],
        }
        return {
            side: (
                sum(answer.unsupported.get(name, 0) for answer in answers for name in names),
                sum(answer.statements.get(name, 0) for answer in answers for name in names),
            )
            for side, answers in sides.items()
        }


@dataclass(frozen=True)
class DetailedAnswer:
    """An answer with everything that the judge said about it. All texts are text of reports."""

    role: Role
    model_fingerprint: str
    subject_key: str
    text: str
    grade: float | None
    reason: str
    criteria: Mapping[str, Criterion]
    statements: tuple[CheckedStatement, ...]
    judge_version: str
    judge_kind: str

    @property
    def fingerprint(self) -> str:
        return fingerprint_text(self.text)

    @property
    def texts(self) -> list[str]:
        """Every text that a page shows."""
        quoted = [part for found in self.criteria.values() for part in (found.reason, found.evidence)]
        checked = [part for found in self.statements for part in (found.text, found.evidence)]
        return [self.text, self.reason, *quoted, *checked]


class GradeDetails:
    """Cached access to the newest graded comparison. Thread-safe."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.table("judge_scores")
        self._lock = threading.Lock()
        self._cached: tuple[_Stamp, ComparisonSummary | None] | None = None

    def latest(self) -> ComparisonSummary | None:
        """None if nothing was graded."""
        try:
            with self._lock:
                stamp = _read_stamp(self._path)
                if self._cached is None or self._cached[0] != stamp:
                    self._cached = (stamp, _summarize(_read_rows(self._path)))
                return self._cached[1]
        except (OSError, pa.ArrowInvalid):
            return None

    def read_answers(self, example_id: str) -> list[DetailedAnswer]:
        """The candidate's answer and the one that it was compared with; fewer if they were removed."""
        compared = self.latest()
        try:
            rows = [] if compared is None else _read_rows(self._path, example_id)
        except (OSError, pa.ArrowInvalid):
            return []
        shown = ("adapter",) if compared is None else ("adapter", compared.other)
        return [_make_answer(row) for role in shown for row in rows if row["model"] == role]


def _read_stamp(path: Path) -> _Stamp:
    status = path.stat()
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _read_rows(path: Path, example_id: str | None = None) -> list[dict[str, Any]]:
    """Tables of older versions lack some columns."""
    filters = None if example_id is None else [("example_id", "=", example_id)]
    present = [name for name in _COLUMNS if name in pq.read_schema(path).names]
    rows = pq.read_table(path, columns=present, filters=filters, partitioning=None).to_pylist()
    return [dict.fromkeys(_COLUMNS) | row for row in rows]


def _summarize(rows: Sequence[Mapping[str, Any]]) -> ComparisonSummary | None:
    candidates = [row for row in rows if row["model"] == "adapter"]
    if not candidates:
        return None
    other: OtherModel = "incumbent" if any(row["model"] == "incumbent" for row in rows) else "base"
    others = {row["example_id"]: row for row in rows if row["model"] == other}
    examples = (
        ExampleSummary(
            row["example_id"],
            row["task"] or "",
            _summarize_answer(row),
            None if (compared := others.get(row["example_id"])) is None else _summarize_answer(compared),
        )
        for row in candidates
    )
    fingerprint = next((row["model_fingerprint"] for row in others.values()), "")
    return ComparisonSummary(candidates[0]["adapter_id"], other, fingerprint, tuple(examples))


def _summarize_answer(row: Mapping[str, Any]) -> AnswerSummary:
    answer = _make_answer(row)
    return AnswerSummary(
        answer.fingerprint,
        answer.grade,
        {name: found.score for name, found in answer.criteria.items()},
        Counter(found.criterion for found in answer.statements),
        Counter(found.criterion for found in answer.statements if found.support != "supported"),
    )


def _make_answer(row: Mapping[str, Any]) -> DetailedAnswer:
    score = row["score"]
    return DetailedAnswer(
        role=_ROLES[row["model"]],
        model_fingerprint=row["model_fingerprint"],
        subject_key=row["subject_key"],
        text=row["answer"],
        grade=score if score is not None and math.isfinite(score) else None,
        reason=row["reason"],
        criteria=_parse(_CRITERIA, row["criteria"]) or {},
        statements=_parse(_STATEMENTS, row["statements"]) or (),
        judge_version=row["judge_version"],
        judge_kind=row["judge_kind"] or "",
    )


def _parse(adapter: TypeAdapter[Any], text: str | None) -> Any:
    """None without JSON, and for that of another version, which may have other supports or fields."""
    try:
        return None if text is None else adapter.validate_json(text)
    except ValidationError:
        return None
