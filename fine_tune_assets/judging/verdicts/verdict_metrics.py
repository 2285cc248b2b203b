"""One metric of a verdict: the comparison, its interval, its limit and its outcome.

Outcomes: `passes` means shown to be good enough; `fails` means shown not to be, after Holm's adjustment within the family;
`unknown` means neither, or not measured. Tasks and subgroups have a standing too, in the words of the verdict's first table.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Literal

from fine_tune_assets.judging.statistics.binary_pairs import BinaryPairs, p_value_of_loss, score_interval
from fine_tune_assets.judging.statistics.paired_differences import SubjectMeans, adjust_holm
from fine_tune_assets.judging.statistics.power import examples_needed, items_needed
from fine_tune_assets.recipes.error_levels import ALPHA, gain_level

Family = Literal["target", "tasks", "abilities", "safety", "checks", "subgroups", "robustness", "documents"]
FAMILIES: tuple[Family, ...] = (
    "target", "tasks", "abilities", "safety", "checks", "subgroups", "robustness", "documents",
)  # fmt: skip
GRADE_FAMILIES: tuple[Family, ...] = ("target", "tasks", "subgroups")
"""Families measured with the judge's grades. The others do not depend on grades."""
Outcome = Literal["passes", "fails", "unknown"]
Standing = Literal["better", "no worse", "worse", "not tested"]
_DIGITS = 6
"""Rounding keeps floating-point differences between processors from changing a verdict."""


@dataclass(frozen=True)
class Metric:
    family: Family
    name: str
    unit: Literal["points", "share"]
    """Points of a grade from 1 to 10, or a share of items."""
    candidate: float | None
    incumbent: float | None
    difference: float | None
    """Candidate minus incumbent; negative is worse."""
    low: float | None
    high: float | None
    """Ends of the 95 % interval of the difference."""
    p: float | None
    """Null hypothesis for the target: no gain above the margin. For all others: no loss beyond the margin."""
    adjusted_p: float | None
    """`p` after Holm's adjustment within the family."""
    items: int
    margin: float | None
    """For the target: the gain to exceed. For all others: the largest allowed loss. None: the metric is informational."""
    outcome: Outcome
    is_within_margin: bool
    """Whether the measured value is within the margin, with missing grades counted against the candidate."""
    needed_items: int | None
    """Items needed for a clear outcome."""
    reason: str
    """Why the outcome is unknown; empty otherwise."""
    is_small: bool = False
    """Whether a task or subgroup has too few examples to pass; its loss counts all the same."""
    standing: Standing | None = None
    """Of a task or subgroup: `better` or `worse` if the interval excludes 0, `no worse` if it excludes a loss above the limit."""


def missing_metric(family: Family, name: str, reason: str, margin: float | None, items: int = 0) -> Metric:
    """A missing metric with its reason; never within its margin. `margin` is None for an informational metric."""
    return Metric(
        family=family,
        name=name,
        unit="points" if family in GRADE_FAMILIES else "share",
        candidate=None,
        incumbent=None,
        difference=None,
        low=None,
        high=None,
        p=None,
        adjusted_p=None,
        items=items,
        margin=margin,
        outcome="unknown",
        is_within_margin=False,
        needed_items=None,
        reason=reason,
        standing="not tested" if family in ("tasks", "subgroups") else None,
    )


def pass_fail_metric(
    family: Family, name: str, share: float | None, items: int, is_passed: bool, reason: str
) -> Metric:
    """A metric without a comparison or an allowed loss."""
    metric = missing_metric(family, name, reason, 0.0, items)
    return replace(metric, candidate=share, outcome="passes" if is_passed else "fails", is_within_margin=is_passed)


@dataclass(frozen=True, eq=False)
class GradeMeans:
    """Mean grades of candidate and incumbent on the same examples."""

    candidate: float
    incumbent: float
    means: SubjectMeans
    """Over the examples graded for both."""
    worst_case: SubjectMeans
    """Over all examples, with the worst possible value for each missing grade; every claim for the candidate uses it."""


def gain_metric(grades: GradeMeans, tail: float, minimum_gain: float, worthwhile_gain: float, level: float) -> Metric:
    """The target: a test of superiority at the one-sided `level` of a verdict. `tail`: share of draws without the gain."""
    high = grades.means.high
    passes, fails = tail <= gain_level(level, grades.worst_case.subjects), high is not None and high < minimum_gain
    return replace(
        _grade_metric("target", "grade", grades, minimum_gain),
        p=tail,
        is_within_margin=grades.worst_case.value > minimum_gain,
        outcome="passes" if passes else "fails" if fails else "unknown",
        needed_items=examples_needed(grades.means, worthwhile_gain, level),
        reason="" if passes or fails else _too_few_reason(grades) or "Neither a gain nor a loss is significant.",
    )


def group_metric(
    family: Literal["tasks", "subgroups"], name: str, grades: GradeMeans, margin: float, minimum_examples: int
) -> Metric:
    """A task or a group of examples: a test of non-inferiority. With too few examples it can fail but not pass."""
    low, examples = grades.worst_case.low, grades.worst_case.examples
    is_large = examples >= minimum_examples
    is_shown = is_large and low is not None and low > -margin
    too_few = "" if is_large else _too_small_reason(examples, minimum_examples)
    return replace(
        _grade_metric(family, name, grades, margin),
        # With missing grades at their worst, as in the standing.
        low=low,
        items=examples,
        p=grades.means.p_value_below(-margin),
        is_within_margin=grades.worst_case.value >= -margin,
        outcome="passes" if is_shown else "unknown",
        needed_items=examples_needed(grades.means, margin),
        reason=too_few or _too_few_reason(grades) or ("" if is_shown else _WIDE_INTERVAL),
        is_small=not is_large,
        standing=_find_standing(grades, is_shown),
    )


_WIDE_INTERVAL = "The interval includes losses beyond the limit."


def _find_standing(grades: GradeMeans, is_shown: bool) -> Standing:
    low, high = grades.worst_case.low, grades.means.high
    if high is not None and high < 0:
        return "worse"
    if not is_shown:
        return "not tested"
    return "better" if low is not None and low > 0 else "no worse"


def _too_small_reason(examples: int, minimum: int) -> str:
    return f"Not tested: {examples} examples; the minimum is {minimum} (gate.minimum_group_examples)."


def _grade_metric(family: Family, name: str, grades: GradeMeans, margin: float) -> Metric:
    means = grades.means
    return replace(
        missing_metric(family, name, "", margin, means.examples),
        candidate=grades.candidate,
        incumbent=grades.incumbent,
        difference=means.value,
        low=means.low,
        high=means.high,
    )


def _too_few_reason(grades: GradeMeans) -> str:
    return "" if grades.means.low is not None else f"{grades.means.subjects} subjects are too few for an interval."


def share_metric(
    family: Family, name: str, pairs: BinaryPairs, shares: tuple[float, float], items: int, margin: float
) -> Metric:
    """Pass-or-fail items: a test of non-inferiority.

    `shares`: of passed items, for candidate and incumbent; `items`: the count before the correction for clustered subjects.
    """
    low, high = score_interval(pairs)
    return replace(
        missing_metric(family, name, "", margin, items),
        candidate=shares[0],
        incumbent=shares[1],
        difference=shares[0] - shares[1],
        low=low,
        high=high,
        p=p_value_of_loss(pairs, margin),
        outcome="passes" if low > -margin else "unknown",
        is_within_margin=shares[0] - shares[1] >= -margin - 1e-9,
        needed_items=items_needed(pairs, margin),
    )


def adjust_metrics(metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    """Adjust the p-values within each family, set the outcome `fails`, round, and sort by family and name."""
    by_family: dict[str, list[Metric]] = defaultdict(list)
    for metric in metrics:
        by_family[metric.family].append(metric)
    adjusted = [metric for family in by_family.values() for metric in _adjust_family(family)]
    return tuple(sorted(map(_round_metric, adjusted), key=lambda f: (FAMILIES.index(f.family), f.name)))


def _adjust_family(family: Sequence[Metric]) -> list[Metric]:
    """Memorization tests bring their own outcome and are not adjusted."""
    if family[0].family == "safety":
        return list(family)
    large = [metric for metric in family if not metric.is_small]
    small = {id(metric): found for metric, found in zip(family, _adjust(family), strict=True) if metric.is_small}
    # Large groups among themselves: many small ones must not hide a loss.
    return [*_adjust(large), *small.values()]


def _adjust(family: Sequence[Metric]) -> list[Metric]:
    adjusted = iter(adjust_holm([metric.p for metric in family if metric.p is not None]))
    return [metric if metric.p is None else _apply_adjusted_p(metric, next(adjusted)) for metric in family]


def _apply_adjusted_p(metric: Metric, adjusted_p: float) -> Metric:
    """A loss beyond the margin fails if it is significant after the adjustment. The target fails by its interval instead
    (`gain_metric`)."""
    fails = metric.family != "target" and adjusted_p <= ALPHA
    return replace(metric, adjusted_p=adjusted_p, outcome="fails" if fails else metric.outcome)


def _round_metric(metric: Metric) -> Metric:
    names = ("candidate", "incumbent", "difference", "low", "high", "p", "adjusted_p", "margin")
    values: dict[str, Any] = {name: round_finite(getattr(metric, name)) for name in names}
    return replace(metric, **values)


def round_finite(value: float | None) -> float | None:
    """Rounded; None for NaN and infinity, which count as missing."""
    return round(value, _DIGITS) if value is not None and isfinite(value) else None
