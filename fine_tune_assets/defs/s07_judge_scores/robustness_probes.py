"""Stage 7: what throws the candidate that did not throw its base model.

Belongs here: probing both and showing what held. Must stay out: what is planted and what counts (see `judging/`).
"""

from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, markdown_table, result
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, Worker, errors_for_people
from fine_tune_assets.defs.s06_adapters.adapters import GPU, READ_BY_GATES, behind_training, set_learned_from
from fine_tune_assets.defs.s07_judge_scores.figures import family_checked
from fine_tune_assets.defs.s07_judge_scores.judge_scores import GROUP, model_request
from fine_tune_assets.engines.running_server import CONTEXT_TOKENS
from fine_tune_assets.judging.contestants.robustness import PROBES
from fine_tune_assets.judging.verdicts import families
from fine_tune_assets.tables.records import only_record
from fine_tune_assets.tables.training import Adapter, BaseModel


@dg.asset(
    group_name=GROUP,
    deps=[*READ_BY_GATES, recipe_section("robustness")],
    pool=GPU,
    automation_condition=behind_training(),
    description="Whether orders, garbage or forged turns in a report, no input, or too much of it throw the candidate.",
    owners=OWNERS["ml"],
    kinds={"parquet"},
    metadata=definition_metadata("robustness_probes"),
)
def robustness_probes(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    adapters: pa.Table,
    base_models: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    adapter, base = only_record(Adapter, adapters), only_record(BaseModel, base_models)
    judge = installation.recipe.judge
    with errors_for_people():
        stored = set_learned_from(installation, adapter.instruction_set_fingerprint)
        models = model_request(installation, adapter, base)
    request: dict[str, Any] = {
        "action": "robustness",
        **models,
        "instruction_set": str(stored.folder / "instruction_set.parquet"),
        "items": judge.robustness_items,
        "max_new_tokens": judge.max_new_tokens,
        "context_tokens": CONTEXT_TOKENS,
    }
    table = worker.make_table(context, "judging", request)
    shown = markdown_table(table.to_pylist())
    return result("robustness_probes", table, fingerprint_table(table), probes=shown)


@dg.asset_check(
    asset="robustness_probes",
    description="The candidate holds about as well as its base model, and what our own code refuses is refused.",
)
def candidate_is_as_robust_as_its_base(installation: Installation, robustness_probes: pa.Table) -> dg.AssetCheckResult:
    gate = installation.recipe.gate
    return family_checked(
        "robustness", families.robustness(robustness_probes, gate.maximum_robustness_loss), PROBES, gate
    )
