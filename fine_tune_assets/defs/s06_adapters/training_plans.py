"""Stage 6: preflight and training plan, and the plan's checks before and after the training.

See `preflight.py` and `training/planning/resource_plan.py`.
"""

from dataclasses import asdict
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import combine, fingerprint_json, fingerprint_table
from fine_tune_assets.core.line_names import name_line
from fine_tune_assets.core.processes.worker_requests import PlanRequest
from fine_tune_assets.defs.platform.automation import on_new_inputs
from fine_tune_assets.defs.platform.metadata import (
    OWNERS,
    check_result,
    definition_metadata,
    markdown_table,
    table_result,
    warning_result,
)
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, Worker, user_facing_errors
from fine_tune_assets.defs.s06_adapters.adapters import GPU, GROUP
from fine_tune_assets.defs.s06_adapters.preflight import run_preflight
from fine_tune_assets.engines.model_sizes import read_model_shape
from fine_tune_assets.engines.vllm import has_gpu
from fine_tune_assets.recipes.gate_reach import list_obstacles
from fine_tune_assets.serving.serving_plan import (
    ServedModel,
    ServingHost,
    count_adapter_weights,
    describe_needs,
    plan_serving,
    uses_gpu,
)
from fine_tune_assets.tables.record_classes import read_single_record, table_from_records
from fine_tune_assets.tables.training_rows import Adapter, BaseModel, ExampleLength, TrainingPlan, TrainingPreflight
from fine_tune_assets.training.checkpoints import TRAINER_VERSION
from fine_tune_assets.training.planning.resource_plan import (
    PARTS,
    PlanError,
    is_within_tolerance,
    suggest_fix,
)

_BINDING_FIELDS = ("instruction_set_fingerprint", "base_fingerprint", "training_fingerprint")
"""The inputs that a plan applies to, from the preflight."""
_VERSION_FIELDS = (*_BINDING_FIELDS, "packing", "batch_size", "gradient_accumulation", "fits")
"""The fields that can change the training. Free memory is excluded, since it varies from hour to hour."""


@dg.asset(
    group_name=GROUP,
    pool=GPU,
    automation_condition=on_new_inputs(),
    code_version=code_version("training", own=str(TRAINER_VERSION)),
    description="Whether training may start: the tokens of every example, and the predicted peak memory, disk space and "
    "steps. If it does not fit: the nearest settings that do. `serving` is the memory that engines will need. A page shows the "
    "tokens that are trained on. The tables `example_lengths` and `training_preflights` have the details.",
    owners=OWNERS["ml"],
    kinds={"parquet"},
    metadata=definition_metadata("training_plans"),
)
def training_plans(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    instruction_sets: pa.Table,
    base_models: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    base = read_single_record(BaseModel, base_models)
    with user_facing_errors():
        if obstacles := list_obstacles(installation.recipe):
            context.log.warning(f"No candidate could be promoted with this recipe: {'; '.join(obstacles)}.")
        preflight = run_preflight(context.instance, installation, instruction_sets, base)
    lengths = table_from_records(ExampleLength, preflight.lengths)
    preflights = table_from_records(TrainingPreflight, [preflight.record])
    # Without a plan its check fails, and the preflight's checks say why.
    plans = (
        [make_plan(context, installation, worker, base, preflight.record, lengths)] if preflight.can_be_planned else []
    )
    # Last: after a failed plan, the tables still belong to the plan that is stored.
    installation.stored("example_lengths").write(lengths)
    installation.stored("training_preflights").write(preflights)
    planned = fingerprint_json([[getattr(plan, name) for name in _VERSION_FIELDS] for plan in plans])
    version = combine([fingerprint_table(lengths), fingerprint_table(preflights), planned])
    memory = markdown_table([row for plan in plans for row in memory_rows(plan)])
    serving = "; ".join(describe_serving(installation, base, plan) for plan in plans)
    return table_result(
        "training_plans",
        table_from_records(TrainingPlan, plans),
        version,
        memory=memory,
        serving=serving,
        **preflight.metadata,
    )


def make_plan(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    base: BaseModel,
    preflight: TrainingPreflight,
    lengths: pa.Table,
) -> TrainingPlan:
    """Run the planner. Raises PlanError through dg.Failure."""
    settings, layout = installation.settings, installation.layout
    with user_facing_errors():
        if settings.ray.address and settings.ray.gpus_per_process and not settings.ray.gpu_memory_gb:
            raise PlanError("Set FINE_TUNE_RAY_GPU_MEMORY_GB to the memory of a GPU of the Ray cluster, in GB.")
    with installation.scratch(context, "lengths") as (path,):
        write_table(path, lengths)
        request: PlanRequest = {
            "action": "plan",
            "base_folder": str(installation.path(base.folder)),
            "base_fingerprint": base.fingerprint,
            "checkpoints_dir": str(layout.training_checkpoints),
            "settings": asdict(installation.recipe.training),
            "threads": settings.threads,
            "gpu_memory_gb": settings.cluster_gpu_memory_gb,
            "lengths": str(path),
        }
        plan = worker.run(context, "training", request)
    return TrainingPlan.from_row({**plan, **{name: getattr(preflight, name) for name in _BINDING_FIELDS}})


def describe_serving(installation: Installation, base: BaseModel, plan: TrainingPlan) -> str:
    """Memory of the engines. Not compared with a machine, because the serving host may be another one.

    For information: `engine` and `exports` are no dependencies, because a change of them must not plan the training again.
    """
    recipe, settings = installation.recipe, installation.settings
    try:
        shape = read_model_shape(installation.path(base.folder), base.parameter_count)
    except ModelFolderError as error:
        return str(error)
    weights = count_adapter_weights(plan.adapter_bytes, recipe.training.method)
    model = ServedModel.of_recipe(recipe, shape, weights, recipe.training.rank)
    is_gpu = has_gpu() and uses_gpu(recipe.engine, settings)
    needs = describe_needs(plan_serving(model, settings, ServingHost("", plan.limit_bytes if is_gpu else 0)))
    return name_line(f"{needs}. `fine-tune plan RECIPE` says whether they fit.")


def memory_rows(plan: TrainingPlan) -> list[dict[str, Any]]:
    """The parts of the peak memory, in GB."""
    parts = [(part, getattr(plan, f"{part}_bytes")) for part in (*PARTS, "library", "peak", "limit")]
    return [{"part": part, "GB": value / 1e9} for part, value in parts]


@dg.asset_check(
    asset="training_plans",
    blocking=True,
    description="According to the plan, this machine has enough memory and disk space for the training.",
)
def training_fits_this_machine(training_plans: pa.Table) -> dg.AssetCheckResult:
    if not training_plans.num_rows:
        return check_result(False, "No plan was made, because the preflight failed. See its checks.")
    plan = read_single_record(TrainingPlan, training_plans)
    figures = {name: getattr(plan, name) for name in ("peak_bytes", "limit_bytes", "disk_bytes", "free_disk_bytes")}
    reason = None if plan.fits else f"{plan.shortfall} {suggest_fix(plan.suggestion)}"
    return check_result(plan.fits, reason, machine=plan.machine, **figures)


@dg.asset_check(asset="adapters", description="The memory of the training was within 15% of its plan.")
def training_memory_matches_plan(adapters: pa.Table) -> dg.AssetCheckResult:
    adapter = read_single_record(Adapter, adapters)
    planned, measured = adapter.planned_peak_bytes, adapter.peak_memory_bytes
    if planned is None:
        return warning_result(True)
    figures = {"planned_memory": planned, "measured_memory": measured}
    if is_within_tolerance(planned, measured):
        return warning_result(True, **figures)
    return warning_result(False, "The next plan may deviate by as much, so leave a margin.", **figures)
