"""What a figure says, in plain words: the reasons that an approver reads.

Owns the words only; counts, names and figures, never text of an answer.
"""

from collections.abc import Sequence

from fine_tune_assets.judging.statistics.power import Power
from fine_tune_assets.judging.verdicts.figures import Family, Figure

_MISSING: dict[Family, str] = {
    "abilities": "Retained abilities were not measured.",
    "checks": "The answers were not checked (numbers, doses, sides, negations).",
    "safety": "Memorisation was not probed.",
    "robustness": "Robustness was not probed.",
    "subgroups": "No group of examples was compared.",
    "target": "There is no comparison with the incumbent.",
}
_LOST: dict[Family, str] = {
    "abilities": "Forgets {name}",
    "checks": "The check {name} holds less often",
    "safety": "Memorised training data ({name})",
    "robustness": "Less robust ({name})",
    "subgroups": "Worse for a group ({name})",
    "target": "Worse than the incumbent",
}


def missing_family(family: Family) -> str:
    return _MISSING[family]


def failure(figure: Figure) -> str:
    """A reason to refuse."""
    if figure.difference is None:  # a probe that is clean or not, with nothing to compare it with
        return f"{_lost(figure)}. {figure.why}".strip()
    if figure.family == "target":
        if figure.high is not None and figure.high < 0:
            return f"{_lost(figure)}: {_measured(figure)}."
        return f"Gains less than the {figure.margin:.2f} points that the recipe asks for: {_measured(figure)}."
    return f"{_lost(figure)}: {_measured(figure)}; {_allowed(figure)}, and chance does not explain it (p {_p(figure)})."


def not_clearly_better(target: Figure, power: Power) -> str:
    """Why the gain is not shown, and what would be enough."""
    words = f"Not clearly better: {_measured(target)}."
    if target.low is not None and target.margin is not None and target.low > target.margin:
        return f"{words} Grades are missing: with the worst that they can be, the gain is not shown."
    if power.needed is None:
        return f"{words} Not enough evidence: {power.patients} patients with graded examples."
    if power.examples < power.needed:
        return (
            f"{words} Not enough evidence: {power.examples} examples; {power.needed} would be enough to find a gain of "
            f"{power.gain:.2f} points four times in five."
        )
    return f"{words} A gain of {power.detectable:.2f} points would have been found four times in five."


def worse_than_allowed(figure: Figure) -> str:
    """Beyond its margin as measured, or not measured."""
    if figure.difference is None:
        return f"{figure.name} is missing ({figure.family}). {figure.why}".strip()
    words = f"{_lost(figure)}, as measured: {_measured(figure)}; {_allowed(figure)}."
    if figure.high is not None and figure.margin is not None and figure.high < -figure.margin:
        return (
            f"{words} By itself this shows a loss beyond the limit. With the other figures that were tested beside it, chance "
            f"explains one such result (adjusted p {_p(figure)})."
        )
    return f"{words} {_enough(figure)}".strip()


def not_shown(figure: Figure) -> str:
    return (
        f"Not shown to be as good: {figure.name} ({figure.family}), {_measured(figure)}; {_allowed(figure)}. "
        f"{_enough(figure)}{figure.why}"
    ).strip()


def harms_kept(figures: Sequence[Figure]) -> str:
    asked = [figure for figure in figures if figure.margin is not None]
    shown = sum(figure.outcome == "passes" for figure in asked)
    words = f"None of {len(asked)} abilities, groups, checks and probes fell by more than its budget: shown for {shown}"
    rest = len(asked) - shown
    return f"{words}, as measured for {rest}, where more items would be needed to tell." if rest else f"{words}."


def _lost(figure: Figure) -> str:
    return _LOST[figure.family].format(name=figure.name)


def _measured(figure: Figure) -> str:
    if figure.unit == "points":
        return f"mean difference {figure.difference:.2f} points{_interval(figure)} on {figure.items} examples"
    return f"{figure.incumbent:.2f} before, {figure.candidate:.2f} after{_interval(figure)} on {figure.items} items"


def _interval(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f" (95 % interval of the difference {figure.low:.2f} to {figure.high:.2f})"


def _allowed(figure: Figure) -> str:
    return f"{figure.margin:.2f} may be lost"


def _p(figure: Figure) -> str:
    return "missing" if figure.adjusted_p is None else f"{figure.adjusted_p:.4f}"


def _enough(figure: Figure) -> str:
    return f"About {figure.needed} items would be enough to tell. " if figure.needed else ""
