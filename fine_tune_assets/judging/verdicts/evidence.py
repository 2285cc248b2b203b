"""Gathers the evidence of a verdict from the tables of stage 7, for one candidate.

The evidence and its JSON document hold counts, metrics and fingerprints, never answer text.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.judging.judges.grades import MAX_SCORE, MIN_SCORE, JudgeKind, describe_blind_spots
from fine_tune_assets.judging.judges.judge_qualification import (
    CalibratedMeans,
    JudgeQualification,
    calibrated_means,
    disqualification_reason,
    qualify_judge,
)
from fine_tune_assets.judging.judges.labelled_sets import OWN_EXPERTS
from fine_tune_assets.judging.statistics.power import Power, estimate_power
from fine_tune_assets.judging.verdicts import metric_families as families
from fine_tune_assets.judging.verdicts.paired_grades import (
    GradedPair,
    Preferences,
    complete_grades,
    grade_means,
    graded_pairs,
    summarize_preferences,
)
from fine_tune_assets.judging.verdicts.verdict_metrics import Family, Metric, adjust_metrics, round_finite
from fine_tune_assets.recipes.schema import GateSettings

BIN_WIDTH = 0.5
"""Bar width of the histograms, in points."""
HistogramBin = tuple[float, float, int]
"""Start, end, count."""


@dataclass(frozen=True)
class JudgeStatus:
    version: str
    kind: str
    agreement: float | None
    floor: float
    is_qualified: bool
    failure_reason: str
    blind_spots: str
    labelled_sets: Mapping[str, str]
    """Name → fingerprint of the labelled answers behind its qualification."""


@dataclass(frozen=True)
class JudgeRequirements:
    """What a judge must be qualified for."""

    kind: JudgeKind
    floor: float
    tasks: tuple[str, ...]
    labelled_sets: Mapping[str, Mapping[str, str]]
    """Task → name and current fingerprint of each labelled set that its qualification may use."""


@dataclass(frozen=True)
class Distributions:
    candidate: tuple[HistogramBin, ...]
    incumbent: tuple[HistogramBin, ...]
    differences: tuple[HistogramBin, ...]


@dataclass(frozen=True)
class Candidate:
    adapter_id: str
    base_fingerprint: str
    instruction_set_fingerprint: str
    recipe_fingerprint: str
    incumbent: str
    """Fingerprint of the production model, or of the base model before the first release."""


@dataclass(frozen=True)
class EvidenceTables:
    """The tables of measurements; None if not measured."""

    judge_scores: pa.Table
    judge_agreement: pa.Table
    retained_abilities: pa.Table | None = None
    answer_checks: pa.Table | None = None
    robustness_results: pa.Table | None = None
    memorization_results: pa.Table | None = None

    def fingerprints(self) -> dict[str, str]:
        tables = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: fingerprint_table(table) for name, table in tables.items() if table is not None}


@dataclass(frozen=True)
class Evidence:
    adapter_id: str
    base_fingerprint: str
    instruction_set_fingerprint: str
    recipe_fingerprint: str
    incumbent: str
    judge: JudgeStatus
    gate: Mapping[str, Any]
    """The thresholds. They are part of the document, so a signature covers only these."""
    metrics: tuple[Metric, ...]
    expected: tuple[tuple[Family, str], ...]
    """Family and name of each required metric."""
    missing_grades: int
    """Test examples without a grade for at least one of the two models."""
    power: Power
    distributions: Distributions
    fingerprints: Mapping[str, str]
    """Name → fingerprint of every input."""
    preferences: Preferences
    """Informational; no rule reads it."""
    calibrated_means: CalibratedMeans | None
    """Informational; None if the judge is not qualified and thus has no calibration."""

    def family_metrics(self, family: Family) -> tuple[Metric, ...]:
        return tuple(metric for metric in self.metrics if metric.family == family)

    @property
    def target(self) -> Metric | None:
        return next(iter(self.family_metrics("target")), None)


def gather_evidence(
    candidate: Candidate,
    tables: EvidenceTables,
    groups: Mapping[str, Sequence[str]],
    gate: GateSettings,
    judge: JudgeRequirements,
    expected: Mapping[Family, Sequence[str]],
    other_fingerprints: Mapping[str, str] | None = None,
) -> Evidence:
    """Gather the evidence on a candidate.

    `groups`: group → ids of test examples. `expected`: family → required metrics. `other_fingerprints`: name → fingerprint of
    other inputs. Raises GateClosedError if a table is about another candidate.
    """
    families.require_same_adapter(
        candidate.adapter_id, {n: t for n, t in vars(tables).items() if n != "judge_agreement"}
    )
    pairs = graded_pairs(tables.judge_scores, candidate.incumbent)
    metrics = adjust_metrics(_measure_families(pairs, candidate, tables, groups, gate))
    required = {("target", "grade"), *(("subgroups", name) for name in groups)}
    required |= {(family, name) for family, names in expected.items() for name in names}
    grades = grade_means(pairs)
    versions = sorted(set(tables.judge_scores.column("judge_version").to_pylist()))
    status = judge_status(versions[0] if len(versions) == 1 else "several", tables.judge_agreement, judge)
    return Evidence(
        **vars(candidate),
        judge=status,
        gate=asdict(gate),
        metrics=metrics,
        expected=tuple(sorted(required)),  # type: ignore[arg-type]
        missing_grades=sum(not pair.is_complete for pair in pairs),
        power=_round_power(estimate_power(grades.means if grades else None, gate.worthwhile_gain, gate.minimum_gain)),
        distributions=_distributions(pairs),
        fingerprints={
            "adapter": candidate.adapter_id,
            "base_model": candidate.base_fingerprint,
            "instruction_set": candidate.instruction_set_fingerprint,
            "recipe": candidate.recipe_fingerprint,
            "incumbent": candidate.incumbent,
            **tables.fingerprints(),
            **{f"labelled_set_{name}": found for name, found in status.labelled_sets.items()},
            **(other_fingerprints or {}),
        },
        preferences=summarize_preferences(tables.judge_scores, candidate.incumbent),
        calibrated_means=_calibrated_means(pairs, tables, judge, status),
    )


def _calibrated_means(
    pairs: Sequence[GradedPair], tables: EvidenceTables, judge: JudgeRequirements, status: JudgeStatus
) -> CalibratedMeans | None:
    if not status.is_qualified:
        return None
    columns = (tables.judge_scores.column(name).to_pylist() for name in ("example_id", "task"))
    tasks: dict[str, str | None] = dict(zip(*columns, strict=True))
    qualifications = [qualify_judge(tables.judge_agreement, status.version, task, judge.floor) for task in judge.tasks]
    graded = [
        (tasks[pair.example_id], pair.candidate, pair.incumbent)
        for pair in pairs
        if pair.candidate is not None and pair.incumbent is not None
    ]
    return calibrated_means(
        graded, {found.task: found.calibration for found in qualifications if found.calibration is not None}
    )


def _measure_families(
    pairs: Sequence[GradedPair],
    candidate: Candidate,
    tables: EvidenceTables,
    groups: Mapping[str, Sequence[str]],
    gate: GateSettings,
) -> list[Metric]:
    examples = [pair.example_id for pair in pairs]
    return [
        families.target_metric(pairs, gate),
        *families.subgroup_metrics(pairs, groups, gate),
        *families.ability_metrics(tables.retained_abilities, gate),
        *families.check_metrics(tables.answer_checks, candidate.incumbent, examples, gate.maximum_check_loss),
        *families.robustness_metrics(tables.robustness_results, gate.maximum_robustness_loss),
        *families.safety_metrics(tables.memorization_results),
    ]


def judge_status(version: str, agreement_table: pa.Table, requirements: JudgeRequirements) -> JudgeStatus:
    """Whether the judge is qualified for every task. An unqualified judge informs but does not decide."""
    qualifications = [qualify_judge(agreement_table, version, task, requirements.floor) for task in requirements.tasks]
    reasons = {
        found.task: why
        for found in qualifications
        if (why := disqualification_reason(found, requirements.labelled_sets[found.task]))
    }
    agreements = [qualification.agreement for qualification in qualifications if qualification.agreement is not None]
    agreement = round_finite(min(agreements)) if agreements else None
    why_not = _merge_reasons(reasons, requirements.tasks)
    return JudgeStatus(
        version=version,
        kind=requirements.kind,
        agreement=agreement,
        floor=requirements.floor,
        is_qualified=not why_not,
        failure_reason=why_not,
        blind_spots=describe_blind_spots(
            requirements.kind, has_reference=True
        ),  # every test example has an approved answer
        labelled_sets=_labelled_sets(qualifications),
    )


def _labelled_sets(qualifications: Sequence[JudgeQualification]) -> dict[str, str]:
    """Name → fingerprint; the experts' ratings of this installation form one set per task."""
    return {
        f"{name}_{qualification.task}" if name == OWN_EXPERTS else name: found
        for qualification in qualifications
        for name, found in sorted(qualification.labelled_sets.items())
    }


def _merge_reasons(by_task: Mapping[str, str], tasks: Sequence[str]) -> str:
    """One sentence if all tasks fail for the same reason; otherwise one per task."""
    if not tasks:
        return "The recipe has no task to qualify a judge for."
    reasons = set(by_task.values())
    if len(reasons) == 1 and len(by_task) == len(set(tasks)):
        return reasons.pop()
    return " ".join(f"{task}: {why}" for task, why in sorted(by_task.items()))


def _round_power(power: Power) -> Power:
    return replace(
        power,
        detectable_gain=round_finite(power.detectable_gain),
        intra_subject_correlation=round_finite(power.intra_subject_correlation),
    )


def _distributions(pairs: Sequence[GradedPair]) -> Distributions:
    candidate, incumbent = complete_grades(pairs)
    span = MAX_SCORE - MIN_SCORE
    return Distributions(
        candidate=histogram(candidate, MIN_SCORE, MAX_SCORE),
        incumbent=histogram(incumbent, MIN_SCORE, MAX_SCORE),
        differences=histogram([a - b for a, b in zip(candidate, incumbent, strict=True)], -span, span),
    )


def histogram(values: Sequence[float], lowest: float, highest: float) -> tuple[HistogramBin, ...]:
    """Count the values in each bar; the last bar includes its upper end."""
    counts = [0] * round((highest - lowest) / BIN_WIDTH)
    for value in values:
        counts[max(0, min(len(counts) - 1, math.floor((value - lowest) / BIN_WIDTH)))] += 1
    return tuple((lowest + BIN_WIDTH * i, lowest + BIN_WIDTH * (i + 1), count) for i, count in enumerate(counts))


_EVIDENCE_DOCUMENT = TypeAdapter(Evidence)


def evidence_json(evidence: Evidence) -> str:
    """The document as canonical JSON. Raises ValueError for NaN and infinity."""
    values: Mapping[str, Any] = asdict(evidence)
    return json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False)


def read_evidence(text: str) -> Evidence:
    """Parse a document. Raises ValueError if it is not valid evidence."""
    return _EVIDENCE_DOCUMENT.validate_json(text)


def read_gate_settings(evidence: Evidence) -> GateSettings:
    """The thresholds of a document. Raises ValueError if they do not match this version's schema."""
    return TypeAdapter(GateSettings).validate_python(dict(evidence.gate))
