"""Stage 7: deterministic checks of the judged answers for grounding and format.

`claims/` compares statements; `judging/verdicts/metric_families.py` decides on vetoes.
"""

from collections.abc import Sequence

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, table_result
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, user_facing_errors
from fine_tune_assets.defs.s06_adapters.adapters import after_training, read_training_set
from fine_tune_assets.defs.s07_judge_scores.judge_scores import GROUP
from fine_tune_assets.defs.s07_judge_scores.metric_metadata import check_metrics, metric_table
from fine_tune_assets.judging.evaluation.deterministic_checks import (
    FORMAT_CHECKS,
    GROUNDING_CHECK_NAMES,
    check_answers,
    incumbent_fingerprint,
)
from fine_tune_assets.judging.verdicts import metric_families as families
from fine_tune_assets.judging.verdicts.promotion_rule import family_objections
from fine_tune_assets.judging.verdicts.verdict_metrics import Metric, adjust_metrics
from fine_tune_assets.tables.record_classes import read_single_record
from fine_tune_assets.tables.training_rows import Adapter


@dg.asset(
    group_name=GROUP,
    code_version=code_version("checks"),
    automation_condition=after_training(),
    description="Whether each judged answer is grounded in its input (numbers, doses, sides, dates, negations) and has the "
    "required format.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("answer_checks"),
)
def answer_checks(
    installation: Installation, adapters: pa.Table, judge_scores: pa.Table
) -> dg.MaterializeResult[pa.Table]:
    adapter = read_single_record(Adapter, adapters)
    if set(judge_scores.column("adapter_id").to_pylist()) - {adapter.adapter_id}:
        raise dg.Failure(
            f"judge_scores has answers of another adapter than {adapter.adapter_id}. {materialize_hint('judge_scores')}",
            allow_retries=False,
        )
    with user_facing_errors():
        stored = read_training_set(installation, adapter.instruction_set_fingerprint)
        table = check_answers(judge_scores, stored.table, installation.recipe.checks, installation.pack)
    metrics = _adjusted_metrics(installation, table)
    changes = {f"change_{metric.name}": metric.difference for metric in metrics if metric.difference is not None}
    return table_result(
        "answer_checks",
        table,
        fingerprint_table(table),
        metrics=metric_table(metrics),
        **changes,
    )


def _adjusted_metrics(installation: Installation, table: pa.Table) -> tuple[Metric, ...]:
    examples = set(table.column("example_id").to_pylist())
    return adjust_metrics(
        families.check_metrics(
            table, incumbent_fingerprint(table), examples, installation.recipe.gate.maximum_check_loss
        )
    )


@dg.asset_check(
    asset="answer_checks",
    description="In no check does the candidate make more statements without support in the input than the incumbent.",
)
def answers_are_grounded(installation: Installation, answer_checks: pa.Table) -> dg.AssetCheckResult:
    return _check_metrics(installation, answer_checks, GROUNDING_CHECK_NAMES)


@dg.asset_check(
    asset="answer_checks",
    description="The candidate's answers have the required format and length and are complete, as often as the incumbent's.",
)
def answers_match_format(installation: Installation, answer_checks: pa.Table) -> dg.AssetCheckResult:
    return _check_metrics(installation, answer_checks, FORMAT_CHECKS)


def _check_metrics(installation: Installation, table: pa.Table, names: Sequence[str]) -> dg.AssetCheckResult:
    """Adjust across all checks, as the verdict does, then select those in `names`."""
    metrics = [metric for metric in _adjusted_metrics(installation, table) if metric.name in names]
    return check_metrics(family_objections("checks", metrics, names, installation.recipe.gate), metrics)
