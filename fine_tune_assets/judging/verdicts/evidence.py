"""Gathers the evidence of a verdict from the tables of stage 7, for one candidate.

The evidence and its JSON document hold counts, metrics and fingerprints, never answer text.
"""

import json
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.judging.judges.criterion_qualification import (
    PREFERENCE,
    CriterionQualification,
    qualify_criterion,
    qualify_preference,
)
from fine_tune_assets.judging.judges.formula_judge import formula_judge
from fine_tune_assets.judging.judges.grades import MAX_SCORE, MIN_SCORE, JudgeKind, describe_blind_spots
from fine_tune_assets.judging.judges.judge_family import describe_same_family, same_family_reason
from fine_tune_assets.judging.judges.judge_qualification import (
    CalibratedMeans,
    JudgeQualification,
    calibrated_means,
    disqualification_reason,
    qualify_judge,
)
from fine_tune_assets.judging.judges.labelled_sets import OWN_EXPERTS
from fine_tune_assets.judging.judges.rubrics import Rubric
from fine_tune_assets.judging.statistics.power import Power, estimate_power
from fine_tune_assets.judging.verdicts import metric_families as families
from fine_tune_assets.judging.verdicts.paired_grades import (
    GradedPair,
    GradeOf,
    Preferences,
    complete_grades,
    criterion_score,
    formula_score,
    grade_means,
    graded_pairs,
    overall_score,
    rubric_score,
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
    deciding_kind: str = ""
    """Judge whose grade decides and to which agreement and qualification refer: `kind`, or `formula` in its place."""
    deciding_reason: str = ""
    """Why the formula decides in place of the recipe's judge; empty otherwise."""
    ungraded_criteria: tuple[str, ...] = ()
    """Criteria of the rubric about which no judge could decide."""


@dataclass(frozen=True)
class CriterionEvidence:
    """Mean grades of one criterion; for `preference`, shares of pairs that each model wins."""

    name: str
    candidate: float | None
    incumbent: float | None
    difference: float | None
    low: float | None
    high: float | None
    """Ends of the 95 % interval of the difference, resampled by subject."""
    is_qualified: bool
    """Whether it may decide."""
    reason: str
    """What its qualification rests on, or why it may not decide."""
    agreement: float | None
    """Rank correlation with people; None if missing."""


@dataclass(frozen=True)
class JudgeRequirements:
    """What a judge must be qualified for."""

    kind: JudgeKind
    floor: float
    tasks: tuple[str, ...]
    labelled_sets: Mapping[str, Mapping[str, str]]
    """Task → name and current fingerprint of each labelled set that its qualification may use."""
    rubric: Rubric = ()
    """Criteria of the grade with their weights."""
    is_same_family: bool = False
    """Whether the judge's language model and the candidate's base model are of one family."""


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
    preferences: Preferences
    """Informational; a qualified preference is one of the `criteria`."""
    calibrated_means: CalibratedMeans | None
    """Informational; None if the judge is not qualified and thus has no calibration, or if only some of its criteria decide."""
    criteria: tuple[CriterionEvidence, ...] = ()
    """The criteria of the rubric and, if the judge compares answers, `preference`."""

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
    versions = sorted(set(tables.judge_scores.column("judge_version").to_pylist()))
    version = versions[0] if len(versions) == 1 else "several"
    status = judge_status(version, tables.judge_agreement, judge)
    criteria = _gather_criteria(tables, candidate.incumbent, judge, status)
    grade_of = _deciding_grade(status, judge.rubric, {one.name for one in criteria if one.is_qualified})
    pairs = graded_pairs(tables.judge_scores, candidate.incumbent, grade_of)
    metrics = adjust_metrics(_measure_families(pairs, candidate, tables, groups, gate))
    required = {("target", "grade"), *(("subgroups", name) for name in groups)}
    required |= {(family, name) for family, names in expected.items() for name in names}
    grades = grade_means(pairs)
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
        calibrated_means=_calibrated_means(pairs, tables, judge, status, criteria),
        criteria=criteria,
    )


def _deciding_grade(status: JudgeStatus, rubric: Rubric, qualified: Container[str]) -> GradeOf:
    """The grade of an answer that decides. An unqualified judge's overall grade can only refuse.

    A qualified criterion that the judge left out of the answers counts, and makes their grades missing.
    """
    if status.deciding_reason:
        return formula_score
    if status.kind == "formula" or not status.is_qualified:
        return overall_score
    counted = [
        one
        for one in rubric
        if one.name in qualified or (one.measured_by != "form" and one.name not in status.ungraded_criteria)
    ]
    return partial(rubric_score, rubric=tuple(counted))


def _gather_criteria(
    tables: EvidenceTables, incumbent: str, judge: JudgeRequirements, status: JudgeStatus
) -> tuple[CriterionEvidence, ...]:
    found = [
        _criterion_evidence(tables.judge_scores, incumbent, qualified, status)
        for qualified in _qualify_criteria(status.version, tables.judge_agreement, judge)
    ]
    preferences = summarize_preferences(tables.judge_scores, incumbent)
    if preferences.pairs or preferences.missing:
        choice = qualify_preference(tables.judge_agreement, status.version)
        why_not = choice.failure_reason or same_family_reason(judge.kind, judge.is_same_family)
        found.append(_preference_evidence(preferences, replace(choice, failure_reason=why_not)))
    return tuple(found)


def _criterion_evidence(
    scores: pa.Table, incumbent: str, qualified: CriterionQualification, status: JudgeStatus
) -> CriterionEvidence:
    grades = grade_means(graded_pairs(scores, incumbent, partial(criterion_score, name=qualified.name)))
    why_not = (
        "The judge does not grade this criterion."
        if grades is None
        else qualified.failure_reason
        or status.deciding_reason
        or ("" if status.is_qualified else status.failure_reason)
    )
    return CriterionEvidence(
        name=qualified.name,
        candidate=round_finite(grades.candidate) if grades else None,
        incumbent=round_finite(grades.incumbent) if grades else None,
        difference=round_finite(grades.means.value) if grades else None,
        low=round_finite(grades.means.low) if grades else None,
        high=round_finite(grades.means.high) if grades else None,
        is_qualified=not why_not,
        reason=why_not or qualified.basis,
        agreement=round_finite(qualified.agreement),
    )


def _preference_evidence(found: Preferences, qualified: CriterionQualification) -> CriterionEvidence:
    """The difference is the share of pairs that the candidate wins, minus the share that the incumbent wins."""
    shares = (found.win_share, found.low, found.high)
    difference, low, high = (None if share is None else round_finite(2 * share - 1) for share in shares)
    return CriterionEvidence(
        name=PREFERENCE,
        candidate=found.win_share,
        incumbent=None if found.win_share is None else round_finite(1 - found.win_share),
        difference=difference,
        low=low,
        high=high,
        is_qualified=not qualified.failure_reason,
        reason=qualified.failure_reason or qualified.basis,
        agreement=None,
    )


def _calibrated_means(
    pairs: Sequence[GradedPair],
    tables: EvidenceTables,
    judge: JudgeRequirements,
    status: JudgeStatus,
    criteria: Sequence[CriterionEvidence],
) -> CalibratedMeans | None:
    is_partial = any(one.candidate is not None and not one.is_qualified for one in criteria if one.name != PREFERENCE)
    if not status.is_qualified or (is_partial and status.deciding_kind != "formula"):
        return None
    version = formula_judge().version if status.deciding_reason else status.version
    columns = (tables.judge_scores.column(name).to_pylist() for name in ("example_id", "task"))
    tasks: dict[str, str | None] = dict(zip(*columns, strict=True))
    qualifications = [qualify_judge(tables.judge_agreement, version, task, judge.floor) for task in judge.tasks]
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
        *families.document_metrics(tables.document_answers, candidate.incumbent, gate.maximum_check_loss),
    ]


def judge_status(version: str, agreement_table: pa.Table, requirements: JudgeRequirements) -> JudgeStatus:
    """Whether the judge is qualified for every task; if it is not, whether the formula is, which then decides in its place.

    An unqualified judge informs but does not decide.
    """
    own = _qualify_overall(version, agreement_table, requirements)
    if requirements.kind == "formula":
        return replace(own, ungraded_criteria=_unread_criteria(requirements.rubric))
    criteria = _qualify_criteria(version, agreement_table, requirements)
    why_not = own.failure_reason or _undecided_criteria(requirements.rubric, criteria)
    if not why_not:
        failed = tuple(one.name for one in criteria if one.failure_reason)
        return replace(own, ungraded_criteria=failed)
    formula = _qualify_overall(
        formula_judge().version, agreement_table, replace(requirements, kind="formula", is_same_family=False)
    )
    if formula.is_qualified:
        return replace(
            formula,
            version=version,
            kind=requirements.kind,
            deciding_reason=f"The formula decides in place of the judge ({requirements.kind}). {why_not}",
            ungraded_criteria=_unread_criteria(requirements.rubric),
        )
    ungraded = tuple(one.name for one in requirements.rubric if one.measured_by != "form")
    return replace(own, is_qualified=False, failure_reason=why_not, ungraded_criteria=ungraded)


def _qualify_overall(version: str, agreement_table: pa.Table, requirements: JudgeRequirements) -> JudgeStatus:
    qualifications = [qualify_judge(agreement_table, version, task, requirements.floor) for task in requirements.tasks]
    reasons = {
        found.task: why
        for found in qualifications
        if (why := disqualification_reason(found, requirements.labelled_sets[found.task]))
    }
    agreements = [qualification.agreement for qualification in qualifications if qualification.agreement is not None]
    agreement = round_finite(min(agreements)) if agreements else None
    why_not = _merge_reasons(reasons, requirements.tasks)
    why_not = why_not or same_family_reason(requirements.kind, requirements.is_same_family)
    return JudgeStatus(
        version=version,
        kind=requirements.kind,
        agreement=agreement,
        floor=requirements.floor,
        is_qualified=not why_not,
        failure_reason=why_not,
        # Every test example has an approved answer.
        blind_spots=describe_blind_spots(requirements.kind, has_reference=True)
        + describe_same_family(requirements.is_same_family),
        labelled_sets=_labelled_sets(qualifications),
        deciding_kind=requirements.kind,
    )


def _qualify_criteria(
    version: str, agreement_table: pa.Table, requirements: JudgeRequirements
) -> list[CriterionQualification]:
    """One per criterion of the rubric. A criterion decides only if it is qualified for every task."""
    found = []
    for criterion in requirements.rubric:
        by_task = {
            task: qualify_criterion(agreement_table, version, task, requirements.floor, criterion)
            for task in requirements.tasks
        }
        reasons = {task: one.failure_reason for task, one in by_task.items() if one.failure_reason}
        agreements = [one.agreement for one in by_task.values()]
        known = [value for value in agreements if value is not None]
        why_not = _merge_reasons(reasons, requirements.tasks)
        found.append(
            CriterionQualification(
                name=criterion.name,
                agreement=min(known) if known and len(known) == len(agreements) else None,
                failure_reason=why_not,
                basis="" if why_not else next(iter(by_task.values())).basis,
            )
        )
    return found


def _undecided_criteria(rubric: Rubric, criteria: Sequence[CriterionQualification]) -> str:
    """Why the qualified criteria are too few to decide; empty if they are enough.

    Without a criterion that is compared with the reference, a model that says less would win.
    """
    failed = {one.name: one.failure_reason for one in criteria if one.failure_reason}
    needed = [one.name for one in rubric if one.measured_by == "reference"]
    needed = needed or [one.name for one in rubric if one.measured_by != "form"]
    if not needed:
        return "The rubric has no criterion that a judge grades."
    if any(name not in failed for name in needed):
        return ""
    return f"It is not qualified for {needed[0].replace('_', ' ')}: {failed[needed[0]]}"


def _unread_criteria(rubric: Rubric) -> tuple[str, ...]:
    """Criteria that the formula, which compares words with the reference, can't grade."""
    return tuple(one.name for one in rubric if one.measured_by in ("statements", "model"))


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
