"""Pairs the grades of candidate and incumbent by example.

A missing grade is excluded from the means. A claim for the candidate must hold with the worst possible value in its place, so a
missing grade never helps the candidate. Which grade of an answer counts depends on what the judge is qualified for
(docs/decisions/0013-judges.md).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

import pyarrow as pa

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.judging.judges.grades import MAX_SCORE, MIN_SCORE, Criterion
from fine_tune_assets.judging.judges.rubrics import Rubric, overall_grade
from fine_tune_assets.judging.statistics.paired_differences import compare_means
from fine_tune_assets.judging.verdicts.verdict_metrics import GradeMeans
from fine_tune_assets.tables.record_classes import Record, iter_records


class GradedRow(Record):
    """A row of `judge_scores`."""

    model: str
    model_fingerprint: str
    example_id: str
    subject_key: str
    score: float | None
    criteria: str | None


GradeOf = Callable[[GradedRow], float | None]
"""Selects the grade of a row that counts; None or NaN if it is missing."""


def overall_score(row: GradedRow) -> float | None:
    return row.score


def criterion_score(row: GradedRow, name: str) -> float | None:
    """The grade of one criterion; None if it is missing or not a number."""
    found = json.loads(row.criteria or "{}").get(name)
    score = found["score"] if found else None
    return float(score) if score is not None and isfinite(score) else None


def rubric_score(row: GradedRow, rubric: Rubric) -> float | None:
    """The overall grade over exactly these criteria; None if one of them is missing.

    An answer without words has no criteria and keeps its MIN_SCORE.
    """
    if row.criteria is None:
        return MIN_SCORE if row.score == MIN_SCORE else None
    scores = {one.name: criterion_score(row, one.name) for one in rubric}
    graded = {name: Criterion(score) for name, score in scores.items() if score is not None}
    return overall_grade(rubric, graded) if len(graded) == len(rubric) else None


@dataclass(frozen=True)
class GradedPair:
    example_id: str
    subject_key: str
    candidate: float | None
    incumbent: float | None

    @property
    def is_complete(self) -> bool:
        return self.candidate is not None and self.incumbent is not None

    @property
    def worst_difference(self) -> float:
        """The difference, with the worst possible value for a missing grade."""
        candidate = MIN_SCORE if self.candidate is None else self.candidate
        return candidate - (MAX_SCORE if self.incumbent is None else self.incumbent)


def graded_pairs(scores: pa.Table, incumbent: str, grade_of: GradeOf = overall_score) -> list[GradedPair]:
    """One pair per test example, sorted by id. Raises GateClosedError unless both models answered the same examples once each."""
    rows = list(iter_records(GradedRow, scores))
    candidate = _grades_by_example([row for row in rows if row.model == "adapter"], grade_of)
    other = _grades_by_example(
        [row for row in rows if row.model != "adapter" and row.model_fingerprint == incumbent], grade_of
    )
    if not other:
        raise GateClosedError(f"The incumbent {incumbent[:16]} has no grades. {materialize_hint('judge_scores')}")
    if set(candidate) != set(other):
        raise GateClosedError(
            f"Candidate and incumbent {incumbent[:16]} were graded on different examples. {materialize_hint('judge_scores')}"
        )
    return [
        GradedPair(example, candidate[example][1], candidate[example][0], other[example][0])
        for example in sorted(candidate)
    ]


def _grades_by_example(rows: Sequence[GradedRow], grade_of: GradeOf) -> dict[str, tuple[float | None, str]]:
    found = {row.example_id: (_finite_grade(grade_of(row)), row.subject_key) for row in rows}
    if len(found) < len(rows):
        raise GateClosedError(
            f"{len(rows) - len(found)} examples were graded twice for one model. {materialize_hint('judge_scores')}"
        )
    return found


def _finite_grade(score: float | None) -> float | None:
    """NaN counts as missing, because it is below no threshold."""
    return float(score) if score is not None and isfinite(score) else None


def grade_means(pairs: Sequence[GradedPair]) -> GradeMeans | None:
    """The comparison of pairs; None if no example is graded for both models."""
    complete = [pair for pair in pairs if pair.is_complete]
    if not complete:
        return None
    candidate, incumbent = complete_grades(complete)
    return GradeMeans(
        candidate=sum(candidate) / len(complete),
        incumbent=sum(incumbent) / len(complete),
        means=compare_means([p.worst_difference for p in complete], [p.subject_key for p in complete]),
        worst_case=compare_means([p.worst_difference for p in pairs], [p.subject_key for p in pairs]),
    )


def complete_grades(pairs: Sequence[GradedPair]) -> tuple[list[float], list[float]]:
    """Grades of candidate and incumbent, of the examples graded for both."""
    both = [(p.candidate, p.incumbent) for p in pairs if p.candidate is not None and p.incumbent is not None]
    return [new for new, _ in both], [old for _, old in both]
