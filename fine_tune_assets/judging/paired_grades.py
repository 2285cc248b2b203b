"""The grades of candidate and incumbent, paired by example.

Owns the pairing and what a missing grade counts for. A missing grade is no grade: it is in no mean. But a claim for the
candidate has to hold with the worst that it can be, so that a grade that goes missing never helps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.hints import materialize_hint
from fine_tune_assets.judging.comparisons import compare_means
from fine_tune_assets.judging.figures import GradeMeans
from fine_tune_assets.judging.grades import HIGHEST, LOWEST


@dataclass(frozen=True)
class GradedPair:
    example_id: str
    patient_key: str
    candidate: float | None
    incumbent: float | None

    @property
    def is_whole(self) -> bool:
        return self.candidate is not None and self.incumbent is not None

    @property
    def worst_difference(self) -> float:
        """The difference, or the smallest that it can be."""
        candidate = LOWEST if self.candidate is None else self.candidate
        return candidate - (HIGHEST if self.incumbent is None else self.incumbent)


def graded_pairs(scores: pa.Table, incumbent: str) -> list[GradedPair]:
    """One pair a test example, sorted. Raises GateClosedError unless both answered the same examples, once each."""
    candidate = _grades_of(scores, lambda row: row["model"] == "adapter")
    other = _grades_of(scores, lambda row: row["model"] != "adapter" and row["model_fingerprint"] == incumbent)
    if not other:
        raise GateClosedError(f"The incumbent {incumbent[:16]} was not graded. {materialize_hint('judge_scores')}")
    if set(candidate) != set(other):
        raise GateClosedError("Candidate and incumbent were not graded on the same examples.")
    return [
        GradedPair(example, candidate[example][1], candidate[example][0], other[example][0])
        for example in sorted(candidate)
    ]


def _grades_of(scores: pa.Table, is_wanted: Callable[[Mapping[str, Any]], bool]) -> dict[str, tuple[float | None, str]]:
    rows = [row for row in scores.to_pylist() if is_wanted(row)]
    found = {row["example_id"]: (_grade(row["score"]), row["patient_key"]) for row in rows}
    if len(found) < len(rows):
        raise GateClosedError(f"An example was graded twice for one model. {materialize_hint('judge_scores')}")
    return found


def _grade(score: float | None) -> float | None:
    """NaN is no grade: it is below no threshold."""
    return float(score) if score is not None and isfinite(score) else None


def grade_means(pairs: Sequence[GradedPair]) -> GradeMeans | None:
    """The comparison of pairs; None where no example is graded for both."""
    whole = [pair for pair in pairs if pair.is_whole]
    if not whole:
        return None
    candidate, incumbent = grades_of(whole)
    return GradeMeans(
        candidate=sum(candidate) / len(whole),
        incumbent=sum(incumbent) / len(whole),
        means=compare_means([p.worst_difference for p in whole], [p.patient_key for p in whole]),
        worst=compare_means([p.worst_difference for p in pairs], [p.patient_key for p in pairs]),
    )


def grades_of(pairs: Sequence[GradedPair]) -> tuple[list[float], list[float]]:
    """Grades of candidate and incumbent, where both are there."""
    both = [(p.candidate, p.incumbent) for p in pairs if p.candidate is not None and p.incumbent is not None]
    return [new for new, _ in both], [old for _, old in both]
