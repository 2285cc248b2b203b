"""Stage 6, before a GPU is used: what the training will take, and whether there is that much.

Belongs here: the plan's asset and checks, before and after the training. Must stay out: how a plan is made (see
`training/planning/resource_plan.py`).
"""

from dataclasses import asdict
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.defs.platform.automation import on_new_inputs
from fine_tune_assets.defs.platform.metadata import OWNERS, checked, definition_metadata, markdown_table, result, warned
from fine_tune_assets.defs.platform.resources import Installation, Worker, errors_for_people
from fine_tune_assets.defs.s06_adapters.adapters import GPU, GROUP
from fine_tune_assets.tables.records import only_record, table_from
from fine_tune_assets.tables.training import Adapter, BaseModel, TrainingPlan, TrainingPreflight
from fine_tune_assets.training.planning.resource_plan import PARTS, PlanError, advice, is_as_planned, most_that_is_tried

_BOUND = ("instruction_set_fingerprint", "base_fingerprint", "training_fingerprint")
"""What a plan is of, taken from the preflight."""
_DECIDED = (*_BOUND, "packing", "batch_size", "gradient_accumulation", "fits")
"""What may make a training another one. Free memory and seconds differ from hour to hour."""


@dg.asset(
    group_name=GROUP,
    deps=["example_lengths"],
    pool=GPU,
    automation_condition=on_new_inputs(),
    description="What the training will take: memory at its peak, disk, steps and time; what does not fit, and the nearest "
    "settings that do.",
    owners=OWNERS["ml"],
    kinds={"parquet"},
    metadata=definition_metadata("training_plans"),
)
def training_plans(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    training_preflights: pa.Table,
    base_models: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    base, preflight = only_record(BaseModel, base_models), only_record(TrainingPreflight, training_preflights)
    plan = planned(context, installation, worker, base, preflight)
    version = fingerprint_json([getattr(plan, name) for name in _DECIDED])
    memory = markdown_table(memory_rows(plan))
    return result("training_plans", table_from(TrainingPlan, [plan]), version, memory=memory)


def planned(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    base: BaseModel,
    preflight: TrainingPreflight,
) -> TrainingPlan:
    """The lengths are read where they are stored."""
    settings, layout = installation.settings, installation.layout
    with errors_for_people():
        if settings.ray.address and settings.ray.gpus_per_process and not settings.ray.gpu_memory_gb:
            raise PlanError("Say how much memory a GPU of the Ray cluster has: FINE_TUNE_RAY_GPU_MEMORY_GB.")
    request = {
        "action": "plan",
        "lengths": str(installation.stored("example_lengths").path),
        "base_folder": str(installation.path(base.folder)),
        "base_fingerprint": base.fingerprint,
        "checkpoints_dir": str(layout.training_checkpoints),
        "settings": asdict(most_that_is_tried(installation.recipe)),
        "threads": settings.threads,
        "gpu_memory_gb": settings.card_elsewhere_gb,
    }
    told = worker.run(context, "training", request)
    return TrainingPlan.of({**told, **{name: getattr(preflight, name) for name in _BOUND}})


def memory_rows(plan: TrainingPlan) -> list[dict[str, Any]]:
    """What the peak is made of."""
    parts = [(part, getattr(plan, f"{part}_bytes")) for part in (*PARTS, "library", "peak", "limit")]
    return [{"part": part, "GB": value / 1e9} for part, value in parts]


@dg.asset_check(
    asset="training_plans",
    blocking=True,
    description="Memory and disk suffice for the training, by its plan.",
)
def training_fits_this_machine(training_plans: pa.Table) -> dg.AssetCheckResult:
    plan = only_record(TrainingPlan, training_plans)
    figures = {name: getattr(plan, name) for name in ("peak_bytes", "limit_bytes", "disk_bytes", "free_disk_bytes")}
    why = None if plan.fits else f"{plan.why} {advice(plan.nearest)}"
    return checked(plan.fits, why, machine=plan.machine, **figures)


@dg.asset_check(
    asset="adapters",
    description="Memory and time of the training were within 15 % of its plan.",
)
def training_took_what_was_planned(adapters: pa.Table) -> dg.AssetCheckResult:
    adapter = only_record(Adapter, adapters)
    pairs = {
        "memory": (adapter.planned_peak_bytes, adapter.peak_memory_bytes),
        "seconds": (adapter.planned_seconds, adapter.seconds),
    }
    known = {name: (planned, measured) for name, (planned, measured) in pairs.items() if planned is not None}
    off = [name for name, pair in known.items() if not is_as_planned(*pair)]
    figures = {
        f"{word}_{n}": v for n, pair in known.items() for word, v in zip(("planned", "measured"), pair, strict=True)
    }
    why = "The next plan may be as far off: leave that much room. Time is off where other work ran beside it."
    if not off:
        return warned(True, **figures)
    return warned(False, why, **figures, off=", ".join(off))
