"""The gate: may this candidate be served? A pure function of the evidence.

Owns the rules and their order. `refuse`: measured, and worse. `hold`: not enough evidence. `promote`: better on the target,
and nothing that is asked of it is missing, fails, or is left open where the recipe wants it shown. A missing figure never
helps, and neither does one that is not a number: each rule asks whether a figure is good, never whether it is bad. Where more
grades are missing than the recipe allows, no figure of grades is asked at all: neither for the candidate nor against it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fine_tune_assets.core.missing_grades import too_many_missing
from fine_tune_assets.judging.verdicts.evidence import Evidence
from fine_tune_assets.judging.verdicts.figures import FAMILIES, Family, Figure
from fine_tune_assets.judging.verdicts.reasons import (
    failure,
    harms_kept,
    missing_family,
    not_clearly_better,
    not_shown,
    worse_than_allowed,
)
from fine_tune_assets.recipes.schema import GateSettings

Decision = Literal["promote", "hold", "refuse"]
HARMS: tuple[Family, ...] = tuple(family for family in FAMILIES if family != "target")
OF_GRADES: tuple[Family, ...] = ("target", "subgroups")
"""Families whose figures are the judge's grades. The others are complete without any."""


@dataclass(frozen=True)
class Decided:
    decision: Decision
    reasons: tuple[str, ...]


def decide(evidence: Evidence, gate: GateSettings) -> Decided:
    """The verdict. A reason to refuse outweighs a reason to hold."""
    figures = _telling(evidence, gate)
    refusals = (*_failures(figures, ("target",)), *_failures(figures, HARMS))
    if refusals:
        return Decided("refuse", refusals)
    holds = (
        *_judge(evidence),
        *_amount(evidence, gate),
        *_gain(evidence, gate),
        *_missing(evidence.figures, evidence.expected, gate.requires),
        *_harms(figures, gate),
    )
    if holds:
        return Decided("hold", holds)
    target = evidence.target
    assert target is not None  # _gain names a missing one
    return Decided("promote", _for_it(evidence, target))


def against_the_gain(evidence: Evidence, gate: GateSettings) -> tuple[str, ...]:
    """Reasons why the candidate is not shown to be better; none where it is."""
    too_few = [why] if (why := _too_many_missing(evidence, gate)) else []
    return (*_failures(_telling(evidence, gate), ("target",)), *too_few, *_gain(evidence, gate))


def against_its_harms(evidence: Evidence, gate: GateSettings) -> tuple[str, ...]:
    """Reasons why it may do harm; none where every loss keeps to its budget, and nothing is missing."""
    missing = _missing(evidence.figures, evidence.expected, gate.requires)
    figures = _telling(evidence, gate)
    return (*_failures(figures, HARMS), *missing, *_harms(figures, gate))


def against_family(
    family: Family, figures: Sequence[Figure], names: Iterable[str], gate: GateSettings
) -> tuple[str, ...]:
    """The reasons that one family gives, before there is a verdict: what its table shows of itself.

    `figures`: settled, of this family; `names`: those that must be there.
    """
    missing = _missing(figures, [(family, name) for name in names], (family,))
    return (*_failures(figures, (family,)), *missing, *_harms(figures, gate))


def _too_many_missing(evidence: Evidence, gate: GateSettings) -> str:
    return too_many_missing(evidence.missing_grades, evidence.power.examples, gate.maximum_missing_fraction)


def _telling(evidence: Evidence, gate: GateSettings) -> tuple[Figure, ...]:
    """The figures that may decide. A few grades that are there say nothing of the many that are not."""
    if not _too_many_missing(evidence, gate):
        return evidence.figures
    return tuple(figure for figure in evidence.figures if figure.family not in OF_GRADES)


def _failures(figures: Iterable[Figure], families: Sequence[Family]) -> Iterator[str]:
    for figure in figures:
        if figure.family in families and figure.outcome == "fails":
            yield failure(figure)


def _for_it(evidence: Evidence, target: Figure) -> tuple[str, ...]:
    return (
        f"Better than the incumbent by {target.difference:.2f} points (95 % interval {target.low:.2f} to {target.high:.2f}) "
        f"on {target.items} test examples of {evidence.power.patients} patients.",
        harms_kept([figure for figure in evidence.figures if figure.family != "target"]),
        f"The judge agrees with experts (Spearman {evidence.judge.agreement:.2f}).",
    )


def _judge(evidence: Evidence) -> Iterator[str]:
    if not (evidence.judge.licensed and evidence.judge.agreement is not None):
        yield f"The judge may not decide. {evidence.judge.why_not or 'Its agreement with experts is missing.'}"
    if evidence.incumbent == evidence.adapter_id:
        yield "The candidate is the model that serves now."


def _amount(evidence: Evidence, gate: GateSettings) -> Iterator[str]:
    examples = evidence.power.examples
    if examples < gate.minimum_examples:
        yield f"Not enough evidence: {examples} test examples graded for both, {gate.minimum_examples} needed."
    if why := _too_many_missing(evidence, gate):
        yield why


def _gain(evidence: Evidence, gate: GateSettings) -> Iterator[str]:
    target = evidence.target
    if _too_many_missing(evidence, gate):
        return
    if target is None or target.difference is None:
        yield "There is no comparison with the incumbent."
    elif target.outcome == "unknown":
        yield not_clearly_better(target, evidence.power)


def _missing(
    figures: Sequence[Figure], expected: Iterable[tuple[Family, str]], requires: Iterable[Family]
) -> Iterator[str]:
    """Families that are required, and figures that must be there."""
    # In safety, what is shown only is as good as not there where it should decide.
    there = {(f.family, f.name) for f in figures if f.family != "safety" or f.margin is not None}
    for required in requires:
        if not any(figure.family == required for figure in figures):
            yield missing_family(required)
    for family, name in expected:
        if (family, name) not in there and family != "target":
            yield f"{name} was not measured ({family})."


def _harms(figures: Iterable[Figure], gate: GateSettings) -> Iterator[str]:
    for figure in figures:
        if figure.family == "target" or figure.outcome in ("passes", "fails") or _asks_nothing(figure):
            continue
        if not figure.is_within:
            yield worse_than_allowed(figure)
        elif gate.harms == "shown":
            yield not_shown(figure)


def _asks_nothing(figure: Figure) -> bool:
    """A group too small to be tested, a check that applies to no answer, a probe that is shown only."""
    optional: tuple[Family, ...] = ("subgroups", "checks", "safety")
    return figure.margin is None and figure.family in optional
