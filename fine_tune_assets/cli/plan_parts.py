"""Merge and serving in `fine-tune plan`: on which machine they are planned, and how the whole plan is shown."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from fine_tune_assets.core.line_names import name_line
from fine_tune_assets.core.processes.memory import available_bytes
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.model_sizes import ModelShape, read_model_shape
from fine_tune_assets.recipes.schema import Recipe, TrainingSettings
from fine_tune_assets.serving.serving_plan import (
    ServedModel,
    ServingHost,
    ServingPlan,
    count_adapter_weights,
    describe_shortfall,
    plan_serving,
    suggest_change,
    uses_gpu,
)

if TYPE_CHECKING:
    from fine_tune_assets.merging.merge_plan import MergePlan
    from fine_tune_assets.training.planning.resource_plan import Machine

GIB = 2**30


@dataclass(frozen=True)
class Hardware:
    """The options that state a machine; None: this machine, or the same GPU."""

    gpu_gib: int | None
    serving_gpu_gib: int | None
    main_memory_gib: int | None

    @property
    def main_memory_bytes(self) -> int | None:
        """Free main memory; None if another machine is planned and its memory is not stated."""
        if self.main_memory_gib is not None:
            return self.main_memory_gib * GIB
        return None if self.gpu_gib is not None else available_bytes()


@dataclass(frozen=True)
class LaterParts:
    """The plans of what follows a training."""

    merge: "MergePlan"
    serving: ServingPlan
    merge_shortfall: str
    """Empty if it fits."""
    serving_shortfall: str
    serving_change: str
    """With which serving would fit; empty if it does."""
    while_training_bytes: int | None
    """Memory of a training while one engine serves on the same GPU, or in the same memory; None if they share none."""
    while_training_limit_bytes: int

    def to_json(self) -> dict[str, Any]:
        merge, serving = self.merge, self.serving
        return {
            "merge": {**asdict(merge), "fits": merge.fits, "shortfall": self.merge_shortfall},
            "serving": {
                **asdict(serving),
                "engine_bytes": serving.engine_bytes,
                "needed_bytes": serving.needed_bytes,
                "fits": serving.fits,
                "shortfall": self.serving_shortfall,
                "suggestion": self.serving_change or None,
            },
            "training_while_serving": {
                "needed_bytes": self.while_training_bytes,
                "limit_bytes": self.while_training_limit_bytes,
            },
        }


def plan_later_parts(
    settings: Settings,
    recipe: Recipe,
    folder: Path,
    row: dict[str, Any],
    training: TrainingSettings,
    machine: "Machine",
    hardware: Hardware,
) -> LaterParts:
    """`row`: the plan of the training on `machine`, with `training` as its settings. Raises ModelFolderError."""
    from fine_tune_assets.merging.merge_plan import describe_shortfall as describe_merge_shortfall
    from fine_tune_assets.training.planning.measured_plan import total_gpu_bytes
    from fine_tune_assets.training.planning.peak_memory import read_base_size

    shape, gpu_bytes = read_model_shape(folder, read_base_size(folder).parameters), total_gpu_bytes()
    adapter = count_adapter_weights(row["adapter_bytes"], training.method)
    merge = _plan_merge(settings, recipe, shape, adapter, gpu_bytes, hardware)
    host = _serving_host(settings, recipe, gpu_bytes, hardware)
    model = ServedModel.of_recipe(recipe, shape, adapter, training.rank)
    serving = plan_serving(model, settings, host)
    shortfall = describe_shortfall(serving, host)
    is_same_host = hardware.gpu_gib is not None or not settings.cluster_gpu_memory_gb
    shares_memory = hardware.serving_gpu_gib is None and is_same_host and machine.is_gpu == serving.is_gpu
    return LaterParts(
        merge=merge,
        serving=serving,
        merge_shortfall=describe_merge_shortfall(merge),
        serving_shortfall=shortfall,
        serving_change=suggest_change(model, settings, host) if shortfall else "",
        while_training_bytes=row["peak_bytes"] + serving.needed_bytes // serving.engines if shares_memory else None,
        while_training_limit_bytes=row["limit_bytes"],
    )


def _plan_merge(
    settings: Settings, recipe: Recipe, shape: ModelShape, adapter_weights: int, gpu_bytes: int, hardware: Hardware
) -> "MergePlan":
    from fine_tune_assets.merging.merge_plan import plan_merge
    from fine_tune_assets.training.failures import free_bytes

    return plan_merge(
        shape,
        recipe.exports,
        recipe.served_export or recipe.merged_dtype,
        2 * adapter_weights,
        max_length=recipe.training.max_length,
        gpu_bytes=gpu_bytes if hardware.gpu_gib is None else hardware.gpu_gib * GIB,
        memory_bytes=hardware.main_memory_bytes,
        free_disk_bytes=free_bytes(settings.data_dir) if hardware.gpu_gib is None else None,
    )


def _serving_host(settings: Settings, recipe: Recipe, gpu_bytes: int, hardware: Hardware) -> ServingHost:
    """A stated GPU is meant for an engine that uses it, such as a `llama-server` built for it."""
    stated = hardware.gpu_gib if hardware.serving_gpu_gib is None else hardware.serving_gpu_gib
    if stated:
        gpus = settings.vllm.tensor_parallel * settings.vllm.pipeline_parallel if recipe.engine == "vllm" else 1
        return ServingHost(f"{gpus} GPUs of {stated} GiB" if gpus > 1 else f"a GPU of {stated} GiB", stated * GIB)
    if stated is None and gpu_bytes and uses_gpu(recipe.engine, settings):
        return ServingHost("this machine's GPU", gpu_bytes)
    return ServingHost("the main memory", memory_bytes=hardware.main_memory_bytes)


def plan_table(title: str, row: dict[str, Any], machine: str, later: LaterParts) -> Table:
    table = Table("part", "", title=f"{title} on {machine}")
    for part, rows in (
        ("training", _training_rows(row)),
        ("merge", _merge_rows(later.merge)),
        ("serving", _serving_rows(later)),
    ):
        table.add_section()
        table.add_row(part, "", style="bold")
        for name, value in rows:
            table.add_row(f"  {name}", value)
    return table


def _training_rows(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for part in ("weights", "adapter", "gradients", "optimizer", "activations", "library"):
        yield part, _gb(row[f"{part}_bytes"])
    yield "at its peak", _of(row["peak_bytes"], row["limit_bytes"])
    yield "batch_size", str(row["batch_size"])
    yield "gradient_accumulation", str(row["gradient_accumulation"])
    yield "packing", row["packing"]
    yield "largest pass", f"{row['max_batch_rows']} rows of {row['max_row_tokens']} tokens"
    yield "disk", _of(row["disk_bytes"], row["free_disk_bytes"])
    if row["steps"]:
        yield "optimizer steps", str(row["steps"])


def _merge_rows(plan: "MergePlan") -> Iterator[tuple[str, str]]:
    yield "main memory", _of(plan.memory_bytes, plan.limit_bytes)
    if plan.method != "in_memory":
        yield "  to merge at once", f"{_gb(plan.whole_model_bytes)}; with less, tensor by tensor"
    if plan.is_compared_slowly:
        yield "comparison", "slow: the merged model exceeds the memory"
    yield "disk", _of(plan.disk_bytes, plan.free_disk_bytes)


def _serving_rows(later: LaterParts) -> Iterator[tuple[str, str]]:
    plan = later.serving
    yield "engine", f"{plan.engine}, {plan.weights_format}, {'GPU' if plan.is_gpu else 'main memory'}"
    yield "weights", _gb(plan.weights_bytes)
    if plan.adapters_bytes:
        yield "adapters", _gb(plan.adapters_bytes)
    yield "KV cache", _gb(plan.cache_bytes)
    yield "program", _gb(plan.overhead_bytes)
    yield "each engine", _of(plan.engine_bytes, plan.reserved_bytes)
    yield "both in a switch" if plan.engines > 1 else "in a switch", _of(plan.needed_bytes, plan.limit_bytes)
    yield "full contexts", f"{plan.full_contexts} of {plan.requests}, {plan.context_tokens} tokens each"
    if later.while_training_bytes is not None:
        yield "while training", _of(later.while_training_bytes, later.while_training_limit_bytes)


def describe_training(row: dict[str, Any]) -> Iterator[str]:
    if row["fits"]:
        yield "Training fits."
        return
    change = row["suggestion"]
    yield row["shortfall"]
    yield f"It would fit with {change}." if change else "No smaller batch or shorter example would fit."


def describe_later_parts(later: LaterParts) -> Iterator[str]:
    """A sentence for each part, and what to change."""
    yield later.merge_shortfall or _describe_fit("Merge", later.merge.fits)
    yield later.serving_shortfall or _describe_fit("Serving", later.serving.fits)
    if later.serving_change:
        yield f"Serving would fit with {later.serving_change}."
    if later.serving.is_gpu and later.serving.engine == "llama_cpp":
        yield "llama.cpp uses a GPU only if FINE_TUNE_LLAMA_SERVER names a llama-server that was built for it."
    if later.while_training_bytes is not None and later.while_training_bytes > later.while_training_limit_bytes:
        yield name_line(
            "A training does not fit next to a running engine: stop it first with `fine-tune down`, or serve elsewhere."
        )


def _describe_fit(part: str, fits: bool | None) -> str:
    return f"{part} fits." if fits else f"{part}: state --main-memory to compare it with a machine."


def _of(needed: int, limit: int | None) -> str:
    return _gb(needed) if limit is None else f"{_gb(needed)} of {_gb(limit)}"


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
