"""All that a verdict rests on, gathered from the tables of stage 7 for exactly one candidate.

Owns the evidence and its document: counts, figures and fingerprints, never text of an answer. Does not know what follows
from it (see promotion_rule.py).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.judging.judges.grades import HIGHEST, LOWEST, JudgeKind, what_it_cant_see
from fine_tune_assets.judging.judges.labelled_sets import OWN_EXPERTS
from fine_tune_assets.judging.judges.qualification import Licence, MappedMeans, closed_because, licence_of, mapped_means
from fine_tune_assets.judging.statistics.power import Power, power_of
from fine_tune_assets.judging.verdicts import families
from fine_tune_assets.judging.verdicts.figures import Family, Figure, rounded, settle
from fine_tune_assets.judging.verdicts.paired_grades import (
    GradedPair,
    Preferences,
    grade_means,
    graded_pairs,
    grades_of,
    preferences_in,
)
from fine_tune_assets.recipes.schema import GateSettings

BAR = 0.5
"""Width of a bar of the distributions, in points."""
Bar = tuple[float, float, int]
"""From, to, count."""


@dataclass(frozen=True)
class JudgeStanding:
    """Whether the judge may decide."""

    version: str
    kind: str
    agreement: float | None
    floor: float
    licensed: bool
    why_not: str
    cannot_see: str
    """In plain words."""
    labelled_sets: Mapping[str, str]
    """Name → fingerprint of the answers that its licences rest on."""


@dataclass(frozen=True)
class JudgeAsked:
    """What a judge must have a licence for."""

    kind: JudgeKind
    floor: float
    tasks: tuple[str, ...]
    labelled_sets: Mapping[str, Mapping[str, str]]
    """Task → name and present fingerprint of each set of labelled answers that its licence may rest on."""


@dataclass(frozen=True)
class Distributions:
    candidate: tuple[Bar, ...]
    incumbent: tuple[Bar, ...]
    differences: tuple[Bar, ...]


@dataclass(frozen=True)
class Candidate:
    """What is to be decided on."""

    adapter_id: str
    base_fingerprint: str
    instruction_set_fingerprint: str
    recipe_fingerprint: str
    incumbent: str
    """Fingerprint of the model that serves now, or of the base model when none does."""


@dataclass(frozen=True)
class Tables:
    """What was measured. None for what was not."""

    judge_scores: pa.Table
    judge_agreement: pa.Table
    retained_abilities: pa.Table | None = None
    answer_checks: pa.Table | None = None
    robustness_probes: pa.Table | None = None
    memorization_probes: pa.Table | None = None

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
    judge: JudgeStanding
    gate: Mapping[str, Any]
    """The thresholds: with others this is another verdict, and a signature on it does not count for them."""
    figures: tuple[Figure, ...]
    expected: tuple[tuple[Family, str], ...]
    """Family and name of the figures that must be there: one that is gone is missing."""
    missing_grades: int
    """Test examples without a grade for one of the two."""
    power: Power
    distributions: Distributions
    fingerprints: Mapping[str, str]
    """Of everything that it rests on."""
    preferences: Preferences
    """Informs, and no rule reads it."""
    on_peoples_scale: MappedMeans | None
    """The same; None where the judge has no licence, and so no map."""

    def of(self, family: Family) -> tuple[Figure, ...]:
        return tuple(figure for figure in self.figures if figure.family == family)

    @property
    def target(self) -> Figure | None:
        return next(iter(self.of("target")), None)


def gather(
    candidate: Candidate,
    tables: Tables,
    groups: Mapping[str, Sequence[str]],
    gate: GateSettings,
    judge: JudgeAsked,
    expected: Mapping[Family, Sequence[str]],
    rests_on: Mapping[str, str] | None = None,
) -> Evidence:
    """The evidence on a candidate.

    `groups`: group → ids of test examples. `expected`: family → names that its table must hold. `rests_on`: name → fingerprint of
    what else answered or was asked. Raises GateClosedError where a table is about something else.
    """
    families.require_about(candidate.adapter_id, {n: t for n, t in vars(tables).items() if n != "judge_agreement"})
    pairs = graded_pairs(tables.judge_scores, candidate.incumbent)
    figures = settle(_figures(pairs, candidate, tables, groups, gate))
    asked = {("target", "grade"), *(("subgroups", name) for name in groups)}
    asked |= {(family, name) for family, names in expected.items() for name in names}
    grades = grade_means(pairs)
    versions = sorted(set(tables.judge_scores.column("judge_version").to_pylist()))
    standing = standing_of(versions[0] if len(versions) == 1 else "several", tables.judge_agreement, judge)
    return Evidence(
        **vars(candidate),
        judge=standing,
        gate=asdict(gate),
        figures=figures,
        expected=tuple(sorted(asked)),  # type: ignore[arg-type]
        missing_grades=sum(not pair.is_whole for pair in pairs),
        power=_rounded(power_of(grades.means if grades else None, gate.worthwhile_gain, gate.minimum_gain)),
        distributions=_distributions(pairs),
        fingerprints={
            "adapter": candidate.adapter_id,
            "base_model": candidate.base_fingerprint,
            "instruction_set": candidate.instruction_set_fingerprint,
            "recipe": candidate.recipe_fingerprint,
            "incumbent": candidate.incumbent,
            **tables.fingerprints(),
            **{f"labelled_set_{name}": found for name, found in standing.labelled_sets.items()},
            **(rests_on or {}),
        },
        preferences=preferences_in(tables.judge_scores, candidate.incumbent),
        on_peoples_scale=_on_peoples_scale(pairs, tables, judge, standing),
    )


def _on_peoples_scale(
    pairs: Sequence[GradedPair], tables: Tables, judge: JudgeAsked, standing: JudgeStanding
) -> MappedMeans | None:
    if not standing.licensed:
        return None
    columns = (tables.judge_scores.column(name).to_pylist() for name in ("example_id", "task"))
    tasks: dict[str, str | None] = dict(zip(*columns, strict=True))
    licences = [licence_of(tables.judge_agreement, standing.version, task, judge.floor) for task in judge.tasks]
    graded = [
        (tasks[pair.example_id], pair.candidate, pair.incumbent)
        for pair in pairs
        if pair.candidate is not None and pair.incumbent is not None
    ]
    return mapped_means(graded, {found.task: found.scale for found in licences if found.scale is not None})


def _figures(
    pairs: Sequence[GradedPair],
    candidate: Candidate,
    tables: Tables,
    groups: Mapping[str, Sequence[str]],
    gate: GateSettings,
) -> list[Figure]:
    examples = [pair.example_id for pair in pairs]
    return [
        families.target(pairs, gate),
        *families.subgroups(pairs, groups, gate),
        *families.abilities(tables.retained_abilities, gate),
        *families.checks(tables.answer_checks, candidate.incumbent, examples, gate.maximum_check_loss),
        *families.robustness(tables.robustness_probes, gate.maximum_robustness_loss),
        *families.safety(tables.memorization_probes),
    ]


def standing_of(version: str, agreement_table: pa.Table, asked: JudgeAsked) -> JudgeStanding:
    """Whether a judge has a licence for every task: without one it may inform and can't decide."""
    licences = [licence_of(agreement_table, version, task, asked.floor) for task in asked.tasks]
    closed = {found.task: why for found in licences if (why := closed_because(found, asked.labelled_sets[found.task]))}
    agreements = [licence.agreement for licence in licences if licence.agreement is not None]
    agreement = rounded(min(agreements)) if agreements else None
    why_not = _in_one(closed, asked.tasks)
    return JudgeStanding(
        version=version,
        kind=asked.kind,
        agreement=agreement,
        floor=asked.floor,
        licensed=not why_not,
        why_not=why_not,
        cannot_see=what_it_cant_see(asked.kind, has_reference=True),  # every test example has an approved answer
        labelled_sets=_labelled_sets(licences),
    )


def _labelled_sets(licences: Sequence[Licence]) -> dict[str, str]:
    """The own experts' ratings are a set of their own for each task."""
    return {
        f"{name}_{licence.task}" if name == OWN_EXPERTS else name: found
        for licence in licences
        for name, found in sorted(licence.labelled_sets.items())
    }


def _in_one(closed: Mapping[str, str], tasks: Sequence[str]) -> str:
    """One sentence where all tasks are closed for the same reason; else each with its task."""
    if not tasks:
        return "The recipe has no task that it could have a licence for."
    reasons = set(closed.values())
    if len(reasons) == 1 and len(closed) == len(set(tasks)):
        return reasons.pop()
    return " ".join(f"{task}: {why}" for task, why in sorted(closed.items()))


def _rounded(power: Power) -> Power:
    return replace(
        power,
        detectable=rounded(power.detectable),
        intra_patient_correlation=rounded(power.intra_patient_correlation),
    )


def _distributions(pairs: Sequence[GradedPair]) -> Distributions:
    candidate, incumbent = grades_of(pairs)
    span = HIGHEST - LOWEST
    return Distributions(
        candidate=bars(candidate, LOWEST, HIGHEST),
        incumbent=bars(incumbent, LOWEST, HIGHEST),
        differences=bars([a - b for a, b in zip(candidate, incumbent, strict=True)], -span, span),
    )


def bars(values: Sequence[float], lowest: float, highest: float) -> tuple[Bar, ...]:
    """How many values lie in each bar; the last one holds its upper end too."""
    counts = [0] * round((highest - lowest) / BAR)
    for value in values:
        counts[max(0, min(len(counts) - 1, math.floor((value - lowest) / BAR)))] += 1
    return tuple((lowest + BAR * i, lowest + BAR * (i + 1), count) for i, count in enumerate(counts))


_DOCUMENT = TypeAdapter(Evidence)


def evidence_json(evidence: Evidence) -> str:
    """The document as canonical JSON. Raises ValueError for a number that is none."""
    values: Mapping[str, Any] = asdict(evidence)
    return json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False)


def read_evidence(text: str) -> Evidence:
    """The evidence of a document. Raises ValueError if it is none."""
    return _DOCUMENT.validate_json(text)


def gate_of(evidence: Evidence) -> GateSettings:
    """The thresholds that a document was made with. Raises ValueError if they are not this version's."""
    return TypeAdapter(GateSettings).validate_python(dict(evidence.gate))
