"""Stage 7: shows metrics in the Dagster UI and turns a family of metrics into a check result.

It applies the rules of the verdict (`judging/verdicts/`), so that a check can't contradict it.
"""

from collections.abc import Iterable, Sequence

import dagster as dg

from fine_tune_assets.defs.platform.metadata import check_result, markdown_table
from fine_tune_assets.judging.verdicts.promotion_rule import family_objections
from fine_tune_assets.judging.verdicts.verdict_metrics import Family, Metric, adjust_metrics
from fine_tune_assets.recipes.schema import GateSettings

_COLUMNS = (
    "family",
    "name",
    "standing",
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


def metric_table(metrics: Iterable[Metric]) -> dg.MarkdownMetadataValue:
    return markdown_table([{name: getattr(metric, name) for name in _COLUMNS} for metric in metrics])


def check_family(
    family: Family, metrics: Iterable[Metric], names: Sequence[str], gate: GateSettings
) -> dg.AssetCheckResult:
    """Fails if these metrics alone give the verdict a reason against the candidate. `names`: the required metrics.

    Does not block, since the verdict is the gate.
    """
    adjusted = adjust_metrics(metrics)
    return check_metrics(family_objections(family, adjusted, names, gate), adjusted)


def check_metrics(reasons: Sequence[str], metrics: Sequence[Metric]) -> dg.AssetCheckResult:
    outcomes = {name: sum(metric.outcome == name for metric in metrics) for name in ("passes", "fails", "unknown")}
    reason = "\n".join(reasons) or "There are no objections."
    return check_result(not reasons, reason, metrics=metric_table(metrics), **outcomes)
