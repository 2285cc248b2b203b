"""Which answer the judge prefers when it sees both, candidate's and incumbent's: counted over the test examples.

Owns reading the paired columns of judge_scores and their figures. They inform: no rule of the verdict reads them (docs/decisions
0034 says why).
"""

from dataclasses import dataclass

import pyarrow as pa

from fine_tune_assets.core.hints import materialize_hint
from fine_tune_assets.judging.comparisons import PatientMeans, compare_means
from fine_tune_assets.judging.figures import rounded

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
    """Of JUDGE_SCORES, about this incumbent: what was compared with another model counts for nothing."""
    rows = [row for row in scores.to_pylist() if row["compared_with"] == incumbent]
    told = [row for row in rows if row["preference"] is not None]
    won = [1.0 if row["preference"] > 0.5 else 0.5 if row["preference"] == 0.5 else 0.0 for row in told]
    means = compare_means(won, [row["patient_key"] for row in told]) if told else None
    not_asked = OFFLINE if set(scores.column("judge_kind").to_pylist()) == {"offline"} else NOT_ASKED
    turned = [row["is_consistent"] for row in told if row["is_consistent"] is not None]
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
