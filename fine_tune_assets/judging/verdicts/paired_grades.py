"""The grades of candidate and incumbent, paired by example, and which of their answers the judge prefers.

A missing grade is no grade: it is in no mean. But a claim for the candidate has to hold with the worst that it can be, so that a
grade that goes missing never helps. Preferences inform only: no rule of the verdict reads them (docs/decisions 0034 says why).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import pyarrow as pa

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.judging.judges.grades import HIGHEST, LOWEST
from fine_tune_assets.judging.statistics.paired_differences import PatientMeans, compare_means
from fine_tune_assets.judging.verdicts.figures import GradeMeans, rounded
from fine_tune_assets.tables.records import Record, records_of


class Graded(Record):
    """Of `judge_scores`, without the texts."""

    model: str
    model_fingerprint: str
    example_id: str
    patient_key: str
    score: float | None
    compared_with: str | None
    preference: float | None
    is_consistent: bool | None


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
    rows = list(records_of(Graded, scores))
    candidate = _grades_of([row for row in rows if row.model == "adapter"])
    other = _grades_of([row for row in rows if row.model != "adapter" and row.model_fingerprint == incumbent])
    if not other:
        raise GateClosedError(f"The incumbent {incumbent[:16]} was not graded. {materialize_hint('judge_scores')}")
    if set(candidate) != set(other):
        raise GateClosedError("Candidate and incumbent were not graded on the same examples.")
    return [
        GradedPair(example, candidate[example][1], candidate[example][0], other[example][0])
        for example in sorted(candidate)
    ]


def _grades_of(rows: Sequence[Graded]) -> dict[str, tuple[float | None, str]]:
    found = {row.example_id: (_grade(row.score), row.patient_key) for row in rows}
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


OFFLINE = (
    "The judge without a model has no preference of its own: which answer it prefers follows from its two grades alone."
)
NOT_ASKED = f"The judge was not asked which answer it prefers. {materialize_hint('judge_scores')}"
NONE_GIVEN = "The judge named neither answer in any pair."


@dataclass(frozen=True)
class Preferences:
    """What the judge said when it was asked in both orders which of two answers is the better one."""

    pairs: int
    """With a preference, or with equal texts."""
    missing: int
    """Pairs of which the judge named neither."""
    better: int
    """Pairs in which it prefers the candidate's answer."""
    equal: int
    worse: int
    share: float | None
    """Of pairs won by the candidate, an equal one counted half; None without a pair."""
    low: float | None
    high: float | None
    """Its 95 % interval, each patient kept whole; None with too few patients for one."""
    consistent: float | None
    """Share of pairs in which both orders prefer the same answer, of those that were asked about."""
    why: str
    """Why there is no share; empty where there is one."""


def preferences_in(scores: pa.Table, incumbent: str) -> Preferences:
    """Of `judge_scores`, about this incumbent: what was compared with another model counts for nothing."""
    rows = [row for row in records_of(Graded, scores) if row.compared_with == incumbent]
    told = [(row, row.preference) for row in rows if row.preference is not None]
    won = [1.0 if preference > 0.5 else 0.5 if preference == 0.5 else 0.0 for _, preference in told]
    means = compare_means(won, [row.patient_key for row, _ in told]) if told else None
    not_asked = OFFLINE if set(scores.column("judge_kind").to_pylist()) == {"offline"} else NOT_ASKED
    turned = [row.is_consistent for row, _ in told if row.is_consistent is not None]
    return Preferences(
        pairs=len(told),
        missing=len(rows) - len(told),
        better=won.count(1.0),
        equal=won.count(0.5),
        worse=won.count(0.0),
        **_share(means),
        consistent=rounded(sum(turned) / len(turned)) if turned else None,
        why="" if told else NONE_GIVEN if rows else not_asked,
    )


def _share(means: PatientMeans | None) -> dict[str, float | None]:
    if means is None:
        return {"share": None, "low": None, "high": None}
    return {"share": rounded(means.value), "low": rounded(means.low), "high": rounded(means.high)}


def in_words(found: Preferences) -> str:
    """One or two sentences, for people."""
    if found.share is None:
        return found.why
    interval = "" if found.low is None or found.high is None else f" (95 % {found.low:.0%} to {found.high:.0%})"
    said = (
        f"Shown both answers in both orders, the judge prefers the candidate's in {found.share:.0%} of {found.pairs} pairs"
        f"{interval}: {found.better} better, {found.worse} worse, {found.equal} equal."
    )
    turned = "" if found.consistent is None else f" Both orders agree in {found.consistent:.0%}."
    missing = f" {found.missing} pairs have no preference." if found.missing else ""
    return f"{said}{turned}{missing}"
