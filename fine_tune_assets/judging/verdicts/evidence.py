"""Gathers the evidence of a verdict from the tables of stage 7, for one candidate.

The evidence and its JSON document hold counts, metrics and fingerprints, never answer text.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.judging.judges.grades import MAX_SCORE, MIN_SCORE
from fine_tune_assets.judging.judges.judge_qualification import (
    CalibratedMeans,
    calibrated_means,
)
from fine_tune_assets.judging.statistics.power import Power, estimate_power
from fine_tune_assets.judging.verdicts import metric_families as families
from fine_tune_assets.judging.verdicts.criterion_evidence import CriterionEvidence, deciding_grade, gather_criteria
from fine_tune_assets.judging.verdicts.example_reuse import VerdictHistory
from fine_tune_assets.judging.verdicts.judge_status import JudgeRequirements, JudgeStatus, judge_status, qualify_tasks
from fine_tune_assets.judging.verdicts.paired_grades import (
    GradedPair,
    complete_grades,
    grade_means,
    graded_pairs,
)
from fine_tune_assets.judging.verdicts.subgroups import ExampleGroups
from fine_tune_assets.judging.verdicts.verdict_metrics import Family, Metric, adjust_metrics, round_finite
from fine_tune_assets.recipes.schema import GateSettings

BIN_WIDTH = 0.5
"""Bar width of the histograms, in points."""
HistogramBin = tuple[float, float, int]
"""Start, end, count."""


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
    document_answers: pa.Table | None = None

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
    calibrated_means: CalibratedMeans | None
    """Informational; None if the judge is not qualified and thus has no calibration, or if only some of its criteria decide."""
    criteria: tuple[CriterionEvidence, ...] = ()
    """The criteria of the rubric."""
    tasks: tuple[str, ...] = ()
    """The tasks of the recipe, each of which must be tested."""
    test_uses: Mapping[str, int] = field(default_factory=dict)
    """Id of each test example → number of earlier verdicts that it decided."""
    verdicts_this_year: int = 1
    """Verdicts on other grades in the year before this one, and this one."""

    def family_metrics(self, family: Family) -> tuple[Metric, ...]:
        return tuple(metric for metric in self.metrics if metric.family == family)

    @property
    def target(self) -> Metric | None:
        return next(iter(self.family_metrics("target")), None)


def gather_evidence(
    candidate: Candidate,
    tables: EvidenceTables,
    groups: ExampleGroups,
    gate: GateSettings,
    judge: JudgeRequirements,
    expected: Mapping[Family, Sequence[str]],
    history: VerdictHistory,
    other_fingerprints: Mapping[str, str] | None = None,
) -> Evidence:
    """Gather the evidence on a candidate.

    `expected`: family → required metrics. `other_fingerprints`: name → fingerprint of other inputs. Raises GateClosedError if a
    table is about another candidate.
    """
    families.require_same_adapter(
        candidate.adapter_id, {n: t for n, t in vars(tables).items() if n != "judge_agreement"}
    )
    versions = sorted(set(tables.judge_scores.column("judge_version").to_pylist()))
    version = versions[0] if len(versions) == 1 else "several"
    status = judge_status(version, tables.judge_agreement, judge)
    criteria = gather_criteria(tables.judge_scores, tables.judge_agreement, candidate.incumbent, judge, status)
    grade_of = deciding_grade(status, judge.rubric, {one.name for one in criteria if one.is_qualified})
    pairs = graded_pairs(tables.judge_scores, candidate.incumbent, grade_of)
    level = gate.verdict_level
    metrics = adjust_metrics(_measure_families(pairs, candidate, tables, groups, gate, level))
    required = {("target", "grade"), *(("subgroups", name) for name in groups.subgroups)}
    required |= {("tasks", name) for name in groups.tasks}
    required |= {(family, name) for family, names in expected.items() for name in names}
    grades = grade_means(pairs)
    return Evidence(
        **vars(candidate),
        judge=status,
        gate=asdict(gate),
        metrics=metrics,
        expected=tuple(sorted(required)),  # type: ignore[arg-type]
        missing_grades=sum(not pair.is_complete for pair in pairs),
        power=_round_power(
            estimate_power(grades.means if grades else None, gate.worthwhile_gain, gate.minimum_gain, level)
        ),
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
        calibrated_means=_calibrated_means(pairs, tables, judge, status, criteria),
        criteria=criteria,
        tasks=groups.required_tasks,
        test_uses={pair.example_id: history.asked.uses.get(pair.example_id, 0) for pair in pairs},
        verdicts_this_year=history.verdicts_this_year,
    )


def _calibrated_means(
    pairs: Sequence[GradedPair],
    tables: EvidenceTables,
    judge: JudgeRequirements,
    status: JudgeStatus,
    criteria: Sequence[CriterionEvidence],
) -> CalibratedMeans | None:
    is_partial = any(one.candidate is not None and not one.is_qualified for one in criteria)
    if not status.is_qualified or is_partial:
        return None
    columns = (tables.judge_scores.column(name).to_pylist() for name in ("example_id", "task"))
    tasks: dict[str, str | None] = dict(zip(*columns, strict=True))
    qualifications = qualify_tasks(status.version, tables.judge_agreement, judge)
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
    groups: ExampleGroups,
    gate: GateSettings,
    level: float,
) -> list[Metric]:
    examples = [pair.example_id for pair in pairs]
    return [
        families.target_metric(pairs, gate, level),
        *families.group_metrics("tasks", pairs, groups.tasks, gate),
        *families.group_metrics("subgroups", pairs, groups.subgroups, gate),
        *families.ability_metrics(tables.retained_abilities, gate),
        *families.check_metrics(tables.answer_checks, candidate.incumbent, examples, gate.maximum_check_loss),
        *families.robustness_metrics(tables.robustness_results, gate.maximum_robustness_loss),
        *families.safety_metrics(tables.memorization_results),
        *families.document_metrics(tables.document_answers, candidate.incumbent, gate.maximum_check_loss),
    ]


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
