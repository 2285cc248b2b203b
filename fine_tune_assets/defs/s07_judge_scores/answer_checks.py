"""Stage 7: does every answer hold to its input and its form?

Belongs here: running the deterministic checks over the judged answers, and showing their figures. Must stay out: what a check
looks for (see `claims/`), and when one vetoes (see `judging/verdicts/families.py`).
"""

from collections.abc import Sequence

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, result
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, errors_for_people
from fine_tune_assets.defs.s06_adapters.adapters import READ_BY_GATES, behind_training, set_learned_from
from fine_tune_assets.defs.s07_judge_scores.figures import figures_checked, figures_shown
from fine_tune_assets.defs.s07_judge_scores.judge_scores import GROUP
from fine_tune_assets.judging.contestants.answer_checks import OF_THE_FORM, OF_THE_INPUT, check_answers, incumbent_in
from fine_tune_assets.judging.verdicts import families
from fine_tune_assets.judging.verdicts.figures import Figure, settle
from fine_tune_assets.judging.verdicts.promotion_rule import against_family
from fine_tune_assets.tables.records import only_record
from fine_tune_assets.tables.training import Adapter


@dg.asset(
    group_name=GROUP,
    deps=[*READ_BY_GATES, recipe_section("checks")],
    automation_condition=behind_training(),
    description="Whether each judged answer holds to its input (numbers, doses, sides, dates, denials) and to its form.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("answer_checks"),
)
def answer_checks(
    installation: Installation, adapters: pa.Table, judge_scores: pa.Table
) -> dg.MaterializeResult[pa.Table]:
    adapter = only_record(Adapter, adapters)
    if set(judge_scores.column("adapter_id").to_pylist()) - {adapter.adapter_id}:
        raise dg.Failure(f"The answers are another adapter's. {materialize_hint('judge_scores')}", allow_retries=False)
    with errors_for_people():
        stored = set_learned_from(installation, adapter.instruction_set_fingerprint)
        table = check_answers(judge_scores, stored.table, installation.recipe.checks)
    figures = _figures(installation, table)
    changes = {f"change_{figure.name}": figure.difference for figure in figures if figure.difference is not None}
    return result(
        "answer_checks",
        table,
        fingerprint_table(table),
        figures=figures_shown(figures),
        **changes,
    )


def _figures(installation: Installation, table: pa.Table) -> tuple[Figure, ...]:
    examples = set(table.column("example_id").to_pylist())
    return settle(families.checks(table, incumbent_in(table), examples, installation.recipe.gate.maximum_check_loss))


@dg.asset_check(
    asset="answer_checks",
    description="The candidate states no more that its input does not hold than what serves does, in any check.",
)
def answers_hold_to_their_input(installation: Installation, answer_checks: pa.Table) -> dg.AssetCheckResult:
    return _checked(installation, answer_checks, OF_THE_INPUT)


@dg.asset_check(
    asset="answer_checks",
    description="The candidate's answers have the format and length of their tasks, and end by themselves, as what serves does.",
)
def answers_keep_their_form(installation: Installation, answer_checks: pa.Table) -> dg.AssetCheckResult:
    return _checked(installation, answer_checks, OF_THE_FORM)


def _checked(installation: Installation, table: pa.Table, names: Sequence[str]) -> dg.AssetCheckResult:
    """Settled among all checks, as the verdict has them."""
    figures = [figure for figure in _figures(installation, table) if figure.name in names]
    return figures_checked(against_family("checks", figures, names, installation.recipe.gate), figures)
