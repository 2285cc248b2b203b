"""Stage 7: figures as people see them, beside the table that they are of and in the verdict.

Belongs here: showing figures, and what a family of them says by itself. Must stay out: how a figure is made (see
`judging/verdicts/families.py`) and what follows from it (see `judging/verdicts/promotion_rule.py`): a check that decided by
itself could contradict the verdict.
"""

from collections.abc import Iterable, Sequence

import dagster as dg

from fine_tune_assets.defs.platform.metadata import checked, markdown_table
from fine_tune_assets.judging.verdicts.figures import Family, Figure, settle
from fine_tune_assets.judging.verdicts.promotion_rule import against_family
from fine_tune_assets.recipes.schema import GateSettings

_SHOWN = (
    "family",
    "name",
    "candidate",
    "incumbent",
    "difference",
    "low",
    "high",
    "adjusted_p",
    "items",
    "margin",
    "outcome",
)


def figures_shown(figures: Iterable[Figure]) -> dg.MarkdownMetadataValue:
    return markdown_table([{name: getattr(f, name) for name in _SHOWN} for f in figures])


def family_checked(
    family: Family, figures: Iterable[Figure], names: Sequence[str], gate: GateSettings
) -> dg.AssetCheckResult:
    """Whether a verdict by these figures alone would have a reason against the candidate. `names`: those that must be there.

    The gate is the verdict: this blocks nothing.
    """
    settled = settle(figures)
    return figures_checked(against_family(family, settled, names, gate), settled)


def figures_checked(reasons: Sequence[str], figures: Sequence[Figure]) -> dg.AssetCheckResult:
    outcomes = {name: sum(figure.outcome == name for figure in figures) for name in ("passes", "fails", "unknown")}
    why = "\n".join(reasons) or "Nothing speaks against it."
    return checked(not reasons, why, figures=figures_shown(figures), **outcomes)
