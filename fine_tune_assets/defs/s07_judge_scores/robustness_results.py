"""Stage 7: runs the robustness cases (`judging/evaluation/robustness_cases.py`) on candidate and base model."""

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.processes.worker_requests import RobustnessRequest
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, markdown_table, table_result
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, Worker, user_facing_errors
from fine_tune_assets.defs.s06_adapters.adapters import GPU, after_training, read_training_set
from fine_tune_assets.defs.s07_judge_scores.judge_scores import GROUP, model_request
from fine_tune_assets.defs.s07_judge_scores.metric_metadata import check_family
from fine_tune_assets.engines.running_server import CONTEXT_TOKENS
from fine_tune_assets.judging.evaluation.robustness_cases import PROBES
from fine_tune_assets.judging.verdicts import metric_families as families
from fine_tune_assets.tables.record_classes import read_single_record
from fine_tune_assets.tables.training_rows import Adapter, BaseModel


@dg.asset(
    group_name=GROUP,
    code_version=code_version("robustness"),
    pool=GPU,
    automation_condition=after_training(),
    description="How candidate and base model handle injected instructions, noise, forged turns, and missing or overlong inputs.",
    owners=OWNERS["ml"],
    kinds={"parquet"},
    metadata=definition_metadata("robustness_results"),
)
def robustness_results(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    adapters: pa.Table,
    base_models: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    adapter, base = read_single_record(Adapter, adapters), read_single_record(BaseModel, base_models)
    judge = installation.recipe.judge
    with user_facing_errors():
        stored = read_training_set(installation, adapter.instruction_set_fingerprint)
        models = model_request(installation, adapter, base)
    request: RobustnessRequest = {
        "action": "probe_robustness",
        **models,
        "instruction_set": str(stored.folder / "instruction_set.parquet"),
        "items": judge.robustness_items,
        "max_new_tokens": judge.max_new_tokens,
        "context_tokens": CONTEXT_TOKENS,
    }
    table = worker.make_table(context, "judging", request)
    shown = markdown_table(table.to_pylist())
    return table_result("robustness_results", table, fingerprint_table(table), results=shown)


@dg.asset_check(
    asset="robustness_results",
    description="The candidate is about as robust as its base model, and inputs that must be refused are refused.",
)
def candidate_is_as_robust_as_base_model(
    installation: Installation, robustness_results: pa.Table
) -> dg.AssetCheckResult:
    gate = installation.recipe.gate
    return check_family(
        "robustness", families.robustness_metrics(robustness_results, gate.maximum_robustness_loss), PROBES, gate
    )
