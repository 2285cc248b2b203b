"""One figure of a verdict: what was compared, what came of it, and whether it may fall so far.

Owns the three outcomes. `passes`: shown to be good enough. `fails`: shown not to be, after Holm's adjustment among the figures
of its family. `unknown`: neither, or not measured. Does not know which figures a recipe asks for.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Literal

from fine_tune_assets.judging.statistics.binary_pairs import BinaryPairs, interval, p_loss_within
from fine_tune_assets.judging.statistics.paired_differences import ALPHA, PatientMeans, holm
from fine_tune_assets.judging.statistics.power import examples_needed, items_needed

Family = Literal["target", "abilities", "safety", "checks", "subgroups", "robustness"]
FAMILIES: tuple[Family, ...] = ("target", "abilities", "safety", "checks", "subgroups", "robustness")
Outcome = Literal["passes", "fails", "unknown"]
_DIGITS = 6
"""So that the last bits of a processor's arithmetic give no other verdict."""


@dataclass(frozen=True)
class Figure:
    family: Family
    name: str
    unit: Literal["points", "share"]
    """Points of a grade from 1 to 10, or a share of items."""
    candidate: float | None
    incumbent: float | None
    difference: float | None
    """Candidate less incumbent: below 0 is worse."""
    low: float | None
    high: float | None
    """The 95 % interval of the difference."""
    p: float | None
    """Of the target: how likely such grades are without the gain. Of all others: how likely with no loss beyond the margin."""
    adjusted_p: float | None
    """The same after Holm's adjustment in its family."""
    items: int
    margin: float | None
    """Of the target: the gain that it must pass. Of all others: what may be lost. None where nothing is asked of it."""
    outcome: Outcome
    is_within: bool
    """Whether the figure as it was measured, missing grades counted against the candidate, keeps to its margin."""
    needed: int | None
    """Items that would be enough to know."""
    why: str
    """Why it is unknown; empty otherwise."""


def not_measured(family: Family, name: str, why: str, margin: float | None, items: int = 0) -> Figure:
    """A figure that is missing, with the reason: it is within no margin. `margin` None where nothing is asked of it."""
    return Figure(
        family=family,
        name=name,
        unit="points" if family in ("target", "subgroups") else "share",
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
        is_within=False,
        needed=None,
        why=why,
    )


def plain_figure(family: Family, name: str, share: float | None, items: int, holds: bool, why: str) -> Figure:
    """A figure that holds or does not, with nothing to compare it with and no budget."""
    held = not_measured(family, name, why, 0.0, items)
    return replace(held, candidate=share, outcome="passes" if holds else "fails", is_within=holds)


@dataclass(frozen=True, eq=False)
class GradeMeans:
    """Grades of both on the same examples."""

    candidate: float
    incumbent: float
    means: PatientMeans
    """Of the examples graded for both."""
    worst: PatientMeans
    """Of all, with the worst that a missing grade can be: what a claim for the candidate has to bear."""


def gain_figure(grades: GradeMeans, minimum_gain: float, worthwhile_gain: float) -> Figure:
    """Of the target: superiority."""
    low, high = grades.worst.low, grades.means.high
    passes, fails = low is not None and low > minimum_gain, high is not None and high < minimum_gain
    return replace(
        _graded("target", "grade", grades, minimum_gain),
        p=grades.worst.p_not_above(minimum_gain),
        is_within=grades.worst.value > minimum_gain,
        outcome="passes" if passes else "fails" if fails else "unknown",
        needed=examples_needed(grades.means, worthwhile_gain),
        why="" if passes or fails else _too_few(grades) or "Neither a gain nor a loss is shown.",
    )


def group_figure(name: str, grades: GradeMeans, margin: float) -> Figure:
    """Of a group of examples: non-inferiority."""
    low = grades.worst.low
    return replace(
        _graded("subgroups", name, grades, margin),
        p=grades.means.p_not_below(-margin),
        is_within=grades.worst.value >= -margin,
        outcome="passes" if low is not None and low > -margin else "unknown",
        needed=examples_needed(grades.means, margin),
        why=_too_few(grades),
    )


def _graded(family: Family, name: str, grades: GradeMeans, margin: float) -> Figure:
    means = grades.means
    return replace(
        not_measured(family, name, "", margin, means.examples),
        candidate=grades.candidate,
        incumbent=grades.incumbent,
        difference=means.value,
        low=means.low,
        high=means.high,
    )


def _too_few(grades: GradeMeans) -> str:
    return "" if grades.means.low is not None else f"{grades.means.patients} patients are too few for an interval."


def share_figure(
    family: Family, name: str, pairs: BinaryPairs, shares: tuple[float, float], items: int, margin: float
) -> Figure:
    """Of yes-or-no items: non-inferiority. `shares` of candidate and incumbent that are right; `items` as they were counted."""
    low, high = interval(pairs)
    return replace(
        not_measured(family, name, "", margin, items),
        candidate=shares[0],
        incumbent=shares[1],
        difference=shares[0] - shares[1],
        low=low,
        high=high,
        p=p_loss_within(pairs, margin),
        outcome="passes" if low > -margin else "unknown",
        is_within=shares[0] - shares[1] >= -margin - 1e-9,
        needed=items_needed(pairs, margin),
    )


def settle(figures: Iterable[Figure]) -> tuple[Figure, ...]:
    """Adjust the p-values in each family, name the figures that fail, round, and sort by family and name."""
    by_family: dict[str, list[Figure]] = defaultdict(list)
    for figure in figures:
        by_family[figure.family].append(figure)
    settled = [figure for family in by_family.values() for figure in _adjusted(family)]
    return tuple(sorted(map(_rounded, settled), key=lambda f: (FAMILIES.index(f.family), f.name)))


def _adjusted(family: Sequence[Figure]) -> list[Figure]:
    """A probe of memorisation comes with its own answer: there is nothing to adjust."""
    if family[0].family == "safety":
        return list(family)
    adjusted = iter(holm([figure.p for figure in family if figure.p is not None]))
    return [figure if figure.p is None else _with_p(figure, next(adjusted)) for figure in family]


def _with_p(figure: Figure, adjusted_p: float) -> Figure:
    """A loss beyond the margin, shown after the adjustment, fails. The target fails by its interval (see `gain_figure`)."""
    fails = figure.family != "target" and adjusted_p <= ALPHA
    return replace(figure, adjusted_p=adjusted_p, outcome="fails" if fails else figure.outcome)


def _rounded(figure: Figure) -> Figure:
    names = ("candidate", "incumbent", "difference", "low", "high", "p", "adjusted_p", "margin")
    values: dict[str, Any] = {name: rounded(getattr(figure, name)) for name in names}
    return replace(figure, **values)


def rounded(value: float | None) -> float | None:
    """None for what is no number: it is missing."""
    return round(value, _DIGITS) if value is not None and isfinite(value) else None
