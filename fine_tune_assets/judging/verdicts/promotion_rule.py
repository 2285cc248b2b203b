"""The promotion rule: a pure function from the evidence to a verdict.

`refuse`: shown to miss the required gain, to lose more than a budget allows, or to leak training text. `hold`: not enough
evidence. `promote`: better on the target, with every other metric measured, within its limit and, if the recipe requires it,
shown by its interval. Each task of the recipe must be tested: a task that is not holds, and so does one that got worse, whatever
its size.

A metric that is missing or not a number never counts for the candidate: each rule tests that a value is good, not that it is bad.
If the judge is not qualified, or more grades are missing than the recipe allows, no metric based on grades decides, neither for
nor against the candidate.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.core.missing_grades import explain_missing_grades
from fine_tune_assets.judging.verdicts.evidence import Evidence
from fine_tune_assets.judging.verdicts.example_reuse import describe_reuse, summarize_reuse
from fine_tune_assets.judging.verdicts.verdict_metrics import FAMILIES, GRADE_FAMILIES, Family, Metric
from fine_tune_assets.judging.verdicts.verdict_reasons import (
    accepted_untested_task,
    clear_gain,
    failure,
    losses_within_budget,
    missing_family,
    missing_metric_reason,
    not_clearly_better,
    not_shown,
    task_standings,
    untested_metrics,
    untested_task,
    verdicts_spent,
    worse_task,
    worse_than_allowed,
)
from fine_tune_assets.recipes.schema import GateSettings

Decision = Literal["promote", "hold", "refuse"]
REGRESSION_FAMILIES: tuple[Family, ...] = tuple(family for family in FAMILIES if family != "target")
_NO_AGREEMENT = f"Its agreement with experts is missing. {materialize_hint('judge_agreement')}"


@dataclass(frozen=True)
class GateResult:
    decision: Decision
    reasons: tuple[str, ...]


def decide_promotion(evidence: Evidence, gate: GateSettings) -> GateResult:
    """Decide. A reason to refuse outweighs a reason to hold."""
    metrics = _deciding_metrics(evidence, gate)
    refusals = (*_failures(metrics, ("target",)), *_failures(metrics, REGRESSION_FAMILIES))
    if refusals:
        return GateResult("refuse", refusals)
    holds = (
        *_unqualified_judge(evidence),
        *_too_little_evidence(evidence, gate),
        *_unproven_gain(evidence, gate),
        *_unproven_tasks(metrics, evidence.tasks, gate),
        *_missing_metrics(evidence.metrics, evidence.expected, gate.requires),
        *_unproven_noninferiority(metrics, gate),
    )
    notes = (*_accepted_tasks(metrics, gate), *_judge_limits(evidence))
    if holds:
        return GateResult("hold", (*holds, *notes))
    target = evidence.target
    assert target is not None  # _unproven_gain reports a missing one
    return GateResult("promote", (*_promotion_reasons(evidence, target, gate), *notes))


def gain_objections(evidence: Evidence, gate: GateSettings) -> tuple[str, ...]:
    """Reasons why the candidate is not shown to be better; empty if it is."""
    missing_grades = [why] if (why := _too_many_missing(evidence, gate)) else []
    return (
        *_unqualified_judge(evidence),
        *_failures(_deciding_metrics(evidence, gate), ("target",)),
        *missing_grades,
        *_unproven_gain(evidence, gate),
    )


def regression_objections(evidence: Evidence, gate: GateSettings) -> tuple[str, ...]:
    """Reasons why the candidate may be worse elsewhere; empty if every loss is within its limit and nothing is missing."""
    missing = _missing_metrics(evidence.metrics, evidence.expected, gate.requires)
    metrics = _deciding_metrics(evidence, gate)
    return (
        *_failures(metrics, REGRESSION_FAMILIES),
        *_unproven_tasks(metrics, evidence.tasks, gate),
        *missing,
        *_unproven_noninferiority(metrics, gate),
    )


def family_objections(
    family: Family, metrics: Sequence[Metric], required_names: Iterable[str], gate: GateSettings
) -> tuple[str, ...]:
    """The reasons of one family, before the verdict exists.

    `metrics`: those of this family, already adjusted with `adjust_metrics`; `required_names`: those that must be present.
    """
    missing = _missing_metrics(metrics, [(family, name) for name in required_names], (family,))
    return (*_failures(metrics, (family,)), *missing, *_unproven_noninferiority(metrics, gate))


def _too_many_missing(evidence: Evidence, gate: GateSettings) -> str:
    return explain_missing_grades(evidence.missing_grades, evidence.power.examples, gate.maximum_missing_fraction)


def _deciding_metrics(evidence: Evidence, gate: GateSettings) -> tuple[Metric, ...]:
    """Without those based on grades if the judge is not qualified or too many grades are missing."""
    if _is_qualified(evidence) and not _too_many_missing(evidence, gate):
        return evidence.metrics
    return tuple(metric for metric in evidence.metrics if metric.family not in GRADE_FAMILIES)


def _failures(metrics: Iterable[Metric], families: Sequence[Family]) -> Iterator[str]:
    for metric in metrics:
        if metric.family in families and metric.outcome == "fails":
            yield failure(metric)


def _promotion_reasons(evidence: Evidence, target: Metric, gate: GateSettings) -> Iterator[str]:
    others = [metric for metric in evidence.metrics if metric.family not in ("target", "tasks")]
    yield task_standings(evidence.family_metrics("tasks"))
    yield clear_gain(target, evidence.power.subjects, gate)
    yield losses_within_budget([metric for metric in others if not _is_informational(metric)])
    yield from untested_metrics([metric for metric in others if _is_informational(metric)])
    yield describe_reuse(summarize_reuse(evidence.test_uses.values()))
    yield f"The judge agrees with experts (Spearman {evidence.judge.agreement:.2f}; required: {evidence.judge.floor:.2f})."


def _unproven_tasks(metrics: Sequence[Metric], tasks: Sequence[str], gate: GateSettings) -> Iterator[str]:
    """A task that got worse never promotes; one of the recipe that is not tested holds, unless the recipe accepts it."""
    for metric in metrics:
        if metric.family != "tasks" or metric.outcome == "fails":
            continue
        if metric.standing == "worse":
            yield worse_task(metric)
        elif metric.standing not in ("better", "no worse"):
            if metric.items and not metric.is_within_margin:
                yield worse_than_allowed(metric)
            elif metric.name in tasks and not _is_accepted(metric, gate):
                yield untested_task(metric, gate)


def _is_accepted(metric: Metric, gate: GateSettings) -> bool:
    """Whether the recipe accepts that this task has too few examples, and no loss was measured on them.

    Without an interval, any lower mean is a loss.
    """
    is_loss = metric.low is None and metric.difference is not None and metric.difference < 0
    return metric.name in gate.untested_tasks and metric.is_small and not is_loss


def _accepted_tasks(metrics: Sequence[Metric], gate: GateSettings) -> Iterator[str]:
    for metric in metrics:
        if metric.family == "tasks" and metric.standing == "not tested" and _is_accepted(metric, gate):
            yield accepted_untested_task(metric, gate.untested_tasks[metric.name])


def _judge_limits(evidence: Evidence) -> Iterator[str]:
    """About which criteria no judge could decide, and grades that decide nothing."""
    if not _is_qualified(evidence) and evidence.target is not None and evidence.target.difference is not None:
        yield (
            f"The grades decide nothing until then: their mean difference is {evidence.target.difference:+.2f} points on "
            f"{evidence.target.items} examples."
        )
    if evidence.judge.ungraded_criteria:
        names = ", ".join(name.replace("_", " ") for name in evidence.judge.ungraded_criteria)
        yield f"No qualified judge graded these criteria: {names}."


def _is_qualified(evidence: Evidence) -> bool:
    return evidence.judge.is_qualified and evidence.judge.agreement is not None


def _unqualified_judge(evidence: Evidence) -> Iterator[str]:
    if not _is_qualified(evidence):
        yield f"The judge is not qualified. {evidence.judge.failure_reason or _NO_AGREEMENT}"
    if evidence.incumbent == evidence.adapter_id:
        yield "The candidate is the production model itself. Train a new adapter."


def _too_little_evidence(evidence: Evidence, gate: GateSettings) -> Iterator[str]:
    examples = evidence.power.examples
    if examples < gate.minimum_examples:
        yield (
            f"Not enough evidence: {examples} test examples are graded for both models; the recipe requires "
            f"{gate.minimum_examples} (gate.minimum_examples). Approve more examples."
        )
    if why := _too_many_missing(evidence, gate):
        yield why


def _unproven_gain(evidence: Evidence, gate: GateSettings) -> Iterator[str]:
    target = evidence.target
    if _too_many_missing(evidence, gate):
        return
    if evidence.verdicts_this_year > gate.verdicts_per_year:
        yield verdicts_spent(evidence.verdicts_this_year, gate)
    if target is None or target.difference is None:
        yield missing_family("target")
    elif target.outcome == "unknown":
        yield not_clearly_better(target, evidence.power, gate)


def _missing_metrics(
    metrics: Sequence[Metric], expected: Iterable[tuple[Family, str]], requires: Iterable[Family]
) -> Iterator[str]:
    """Required families and metrics that are missing."""
    # A memorization test that does not gate counts as missing where a gating one is expected.
    present = {(one.family, one.name) for one in metrics if one.family != "safety" or one.margin is not None}
    for required in requires:
        if not any(metric.family == required for metric in metrics):
            yield missing_family(required)
    for family, name in expected:
        if (family, name) not in present and family != "target":
            yield missing_metric_reason(family, name)


def _unproven_noninferiority(metrics: Iterable[Metric], gate: GateSettings) -> Iterator[str]:
    for metric in metrics:
        is_decided = metric.outcome in ("passes", "fails") or metric.family in ("target", "tasks")
        if is_decided or _is_informational(metric):
            continue
        if not metric.is_within_margin:
            yield worse_than_allowed(metric)
        elif gate.regression_evidence == "interval":
            yield not_shown(metric)


def _is_informational(metric: Metric) -> bool:
    """A group too small to test, a check that applies to no answer, or a memorization test that does not gate."""
    if metric.family == "subgroups":
        return metric.is_small
    return metric.margin is None and metric.family in ("checks", "safety")
