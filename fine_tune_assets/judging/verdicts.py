"""The gate: may this candidate be served? A pure function of the figures.

Owns the rules and the reasons in plain words. `refuse`: measured and worse. `hold`: not enough evidence. `promote`: every
figure is there and good enough. A missing figure never helps, and neither does one that is not a number: NaN is below no
threshold, so each gate asks whether a figure is good, never whether it is bad.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.judging.statistics import Interval, mean_interval
from fine_tune_assets.recipes.schema import GateSettings

Outcome = Literal["promote", "hold", "refuse"]


@dataclass(frozen=True)
class Evidence:
    """All that a verdict rests on."""

    adapter_id: str
    base_fingerprint: str
    instruction_set_fingerprint: str
    recipe_fingerprint: str
    incumbent: str
    """Fingerprint of the model that serves now, or of the base model when none does."""
    judge_version: str
    judge_agreement: float | None
    agreement_floor: float
    gate: Mapping[str, Any]
    """The thresholds: with others this is another verdict, and a signature on it does not count for them."""
    examples: int
    missing_grades: int
    candidate_score: float | None
    incumbent_score: float | None
    gain: Interval | None
    abilities: tuple[tuple[str, float, float], ...]
    """(ability, accuracy of the base model, accuracy of the candidate)"""


@dataclass(frozen=True)
class Decided:
    decision: Outcome
    reasons: tuple[str, ...]


def decide(evidence: Evidence, gate: GateSettings) -> Decided:
    """The verdict. A reason to refuse outweighs a reason to hold."""
    refusals = _refusals(evidence, gate)
    if refusals:
        return Decided("refuse", tuple(refusals))
    holds = _holds(evidence, gate)
    if holds:
        return Decided("hold", tuple(holds))
    assert evidence.gain is not None  # _holds names a missing gain
    return Decided(
        "promote",
        (
            f"Better than the incumbent by {evidence.gain.value:.2f} points "
            f"(95 % interval {evidence.gain.low:.2f} to {evidence.gain.high:.2f}) on {evidence.examples} test examples.",
            f"No general ability fell by more than {gate.maximum_ability_loss:.0%}.",
            f"The judge agrees with experts (Spearman {evidence.judge_agreement:.2f}).",
        ),
    )


def _refusals(evidence: Evidence, gate: GateSettings) -> list[str]:
    found = []
    if evidence.gain is not None and evidence.gain.high < gate.minimum_gain:
        found.append(
            f"Worse than the incumbent: mean difference {evidence.gain.value:.2f} points, "
            f"95 % interval {evidence.gain.low:.2f} to {evidence.gain.high:.2f}."
        )
    for ability, base, candidate in evidence.abilities:
        if base - candidate > gate.maximum_ability_loss:
            found.append(f"Forgets {ability}: accuracy {base:.2f} before, {candidate:.2f} after.")
    return found


def _holds(evidence: Evidence, gate: GateSettings) -> list[str]:
    found = []
    if evidence.judge_agreement is None:
        found.append("This judge was not measured against experts.")
    elif not evidence.judge_agreement >= evidence.agreement_floor:
        found.append(
            f"The judge may not decide: its agreement with experts is {evidence.judge_agreement:.2f}, "
            f"below {evidence.agreement_floor:.2f}."
        )
    if evidence.examples < gate.minimum_examples:
        found.append(
            f"Not enough evidence: {evidence.examples} examples graded for both, {gate.minimum_examples} needed."
        )
    graded = evidence.examples + evidence.missing_grades
    if graded and not evidence.missing_grades / graded <= gate.maximum_missing_fraction:
        found.append(f"{evidence.missing_grades} of {graded} examples have no grade.")
    if evidence.gain is None:
        found.append("There is no comparison with the incumbent.")
    elif not evidence.gain.low > gate.minimum_gain:
        found.append(
            f"Not clearly better: mean difference {evidence.gain.value:.2f} points, "
            f"95 % interval {evidence.gain.low:.2f} to {evidence.gain.high:.2f}."
        )
    if not evidence.abilities:
        found.append("Retained abilities were not measured.")
    for ability, base, candidate in evidence.abilities:
        if not base - candidate <= gate.maximum_ability_loss:
            found.append(f"{ability} was not measured: its accuracy is not a number.")
    if evidence.incumbent == evidence.adapter_id:
        found.append("The candidate is the model that serves now.")
    return found


def compare_scores(scores: pa.Table, incumbent: str) -> tuple[int, int, float | None, float | None, Interval | None]:
    """(examples graded for both, examples missing a grade, incumbent's mean, candidate's mean, gain)."""
    candidate = _scores_of(scores, lambda row: row["model"] == "adapter")
    other = _scores_of(scores, lambda row: row["model"] != "adapter" and row["model_fingerprint"] == incumbent)
    if not other:
        raise GateClosedError(f"The incumbent {incumbent[:16]} was not graded. Materialize judge_scores again.")
    if set(candidate) != set(other):
        raise GateClosedError("Candidate and incumbent were not graded on the same examples.")
    both = sorted(key for key in candidate if _is_graded(candidate[key][0]) and _is_graded(other[key][0]))
    missing = len(candidate) - len(both)
    if not both:
        return 0, missing, None, None, None
    new, old = [float(candidate[k][0]) for k in both], [float(other[k][0]) for k in both]
    gain = mean_interval([a - b for a, b in zip(new, old, strict=True)], [candidate[k][1] for k in both])
    return len(both), missing, sum(old) / len(old), sum(new) / len(new), gain


def _is_graded(score: float | None) -> bool:
    return score is not None and math.isfinite(score)


def _scores_of(scores: pa.Table, is_wanted: Any) -> dict[str, tuple[Any, str]]:
    return {row["example_id"]: (row["score"], row["patient_key"]) for row in scores.to_pylist() if is_wanted(row)}


def evidence_json(evidence: Evidence) -> str:
    """Every figure as canonical JSON."""
    from dataclasses import asdict

    values: Mapping[str, Any] = asdict(evidence)
    return json.dumps(values, sort_keys=True, ensure_ascii=False)
