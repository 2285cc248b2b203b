"""Plans the memory of serving before any weights exist: whether the engines fit, and what to change.

`engine_start` checks the memory again before it starts an engine. Two engines run during a switch, except that one shared vLLM
process serves all adapters of a base model.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

from fine_tune_assets.core.serving_engines import llama_cpp_slots, reads_folder
from fine_tune_assets.core.settings import Settings, VllmSettings
from fine_tune_assets.engines.model_sizes import GPU_USABLE_FRACTION, ModelShape, weights_bytes
from fine_tune_assets.recipes.export_settings import LORA_SAFETENSORS
from fine_tune_assets.recipes.schema import Recipe
from fine_tune_assets.serving.engine_start import GIB, LLAMA_OVERHEAD_BYTES, VLLM_OVERHEAD_BYTES

LLAMA_GPU_OVERHEAD_BYTES = LLAMA_OVERHEAD_BYTES + int(0.5 * GIB)
"""With the driver's context. Not measured here."""
VLLM_GPU_OVERHEAD_BYTES = 3 * GIB
"""Per GPU: activations and memory outside torch. vLLM's log for Llama 3 8B on 80 GB: 1.26 and 1.79 GiB (pull request 10511 of
vllm-project/vllm). CUDA graphs take more, outside of gpu_memory_percent; GPU_USABLE_FRACTION leaves room for them."""
_PERCENT = "FINE_TUNE_VLLM_GPU_MEMORY_PERCENT"
_SHARED_PERCENT = 90
"""Percentage for a shared process, which runs alone (docs/how-to/serve-with-vllm.md)."""
_SMALLER_FORMATS = ("q8_0", "q6_k", "q5_k_m", "q4_k_m")


@dataclass(frozen=True)
class ServingHost:
    """The memory that engines use."""

    name: str
    gpu_bytes: int = 0
    """Memory of one GPU; 0: engines use main memory."""
    memory_bytes: int | None = None
    """Main memory that is free for engines; None if unknown."""


@dataclass(frozen=True)
class ServedModel:
    engine: str
    weights_format: str
    """The export that the engine loads, or the number format of the merged weights."""
    shape: ModelShape
    method: str
    """`training.method` of the adapter."""
    adapter_weights: int
    rank: int

    @classmethod
    def of_recipe(cls, recipe: Recipe, shape: ModelShape, adapter_weights: int, rank: int) -> "ServedModel":
        served = recipe.served_export or recipe.merged_dtype
        return cls(recipe.engine, served, shape, recipe.training.method, adapter_weights, rank)

    @property
    def is_shared(self) -> bool:
        return reads_folder(self.engine) and self.weights_format == LORA_SAFETENSORS


@dataclass(frozen=True)
class ServingPlan:
    engine: str
    weights_format: str
    is_gpu: bool
    weights_bytes: int
    adapters_bytes: int
    cache_bytes: int
    """KV cache of all requests; for vLLM on a GPU, of one request, without which it does not start."""
    overhead_bytes: int
    engines: int
    """Engines in memory at once: 2 during a switch."""
    reserved_bytes: int | None
    """Memory that each engine takes at its start, whatever it needs; None for engines that take what they need."""
    limit_bytes: int | None
    """Memory for all engines; None if unknown."""
    context_tokens: int
    requests: int
    """Simultaneous requests that the settings allow."""
    full_contexts: int
    """Of these, those with a full context that the KV cache holds; vLLM queues further ones."""

    @property
    def engine_bytes(self) -> int:
        return self.weights_bytes + self.adapters_bytes + self.cache_bytes + self.overhead_bytes

    @property
    def needed_bytes(self) -> int:
        """Memory of all engines."""
        return self.engines * (self.reserved_bytes or self.engine_bytes)

    @property
    def fits(self) -> bool | None:
        """None if the memory is unknown."""
        if self.limit_bytes is None:
            return None
        has_room = self.reserved_bytes is None or self.engine_bytes <= self.reserved_bytes
        return has_room and self.needed_bytes <= self.limit_bytes


def count_adapter_weights(adapter_bytes: int, method: str) -> int:
    """Weights of an adapter that takes `adapter_bytes` in training: QLoRA keeps it in 16 bits, other methods in 32."""
    return adapter_bytes // (2 if method == "qlora" else 4)


def uses_gpu(engine: str, settings: Settings) -> bool:
    """Whether the engine uses a GPU of its machine. The bundled llama.cpp does not."""
    return engine == "vllm" or bool(settings.llama.server)


def plan_serving(model: ServedModel, settings: Settings, host: ServingHost) -> ServingPlan:
    return (_plan_vllm if model.engine == "vllm" else _plan_llama_cpp)(model, settings, host)


def _plan_llama_cpp(model: ServedModel, settings: Settings, host: ServingHost) -> ServingPlan:
    tokens, slots = settings.engine.context_tokens, llama_cpp_slots(settings)
    return ServingPlan(
        engine=model.engine,
        weights_format=model.weights_format,
        is_gpu=host.gpu_bytes > 0,
        weights_bytes=weights_bytes(model.shape, model.weights_format),
        adapters_bytes=0,
        cache_bytes=model.shape.kv_bytes_per_token * tokens * slots,
        overhead_bytes=LLAMA_GPU_OVERHEAD_BYTES if host.gpu_bytes else LLAMA_OVERHEAD_BYTES,
        engines=2,
        reserved_bytes=None,
        limit_bytes=int(host.gpu_bytes * GPU_USABLE_FRACTION) or _free_memory(settings, host),
        context_tokens=tokens,
        requests=slots,
        full_contexts=slots,
    )


def _plan_vllm(model: ServedModel, settings: Settings, host: ServingHost) -> ServingPlan:
    vllm, tokens = settings.vllm, settings.engine.context_tokens
    gpus = vllm.tensor_parallel * vllm.pipeline_parallel
    request_bytes = model.shape.kv_bytes_per_token * tokens
    reserved = host.gpu_bytes * gpus * vllm.gpu_memory_percent // 100 or None
    plan = ServingPlan(
        engine=model.engine,
        weights_format=model.weights_format,
        is_gpu=host.gpu_bytes > 0,
        weights_bytes=weights_bytes(model.shape, model.weights_format),
        adapters_bytes=_adapter_slots_bytes(model, settings) if model.is_shared else 0,
        cache_bytes=request_bytes if reserved else vllm.kv_cache_gb * GIB,
        overhead_bytes=VLLM_GPU_OVERHEAD_BYTES * gpus if reserved else VLLM_OVERHEAD_BYTES,
        engines=1 if model.is_shared else 2,
        reserved_bytes=reserved,
        limit_bytes=int(host.gpu_bytes * gpus * GPU_USABLE_FRACTION) or _free_memory(settings, host),
        context_tokens=tokens,
        requests=vllm.parallel,
        full_contexts=0,
    )
    cache = plan.cache_bytes + (reserved - plan.engine_bytes if reserved else 0)
    return replace(plan, full_contexts=max(0, min(vllm.parallel, cache // request_bytes)))


def _adapter_slots_bytes(model: ServedModel, settings: Settings) -> int:
    """vLLM reserves 16-bit memory for `max_adapters` adapters of the maximum rank at its start."""
    rank = max(settings.vllm.max_lora_rank, model.rank)
    return 2 * model.adapter_weights * rank // model.rank * settings.vllm.max_adapters


def _free_memory(settings: Settings, host: ServingHost) -> int | None:
    if host.memory_bytes is None:
        return None
    return max(0, host.memory_bytes - settings.engine.memory_reserve_gb * GIB)


def describe_needs(plan: ServingPlan) -> str:
    engines = "one process for all adapters" if plan.engines == 1 else f"{plan.engines} engines during a switch"
    place = "GPU memory" if plan.is_gpu else "main memory"
    return (
        f"{engines} with {_gb(plan.engine_bytes)} of {place} each ({plan.engine}; {plan.weights_format} weights "
        f"{_gb(plan.weights_bytes)}, KV cache {_gb(plan.cache_bytes)})"
    )


def describe_shortfall(plan: ServingPlan, host: ServingHost) -> str:
    """What does not fit; empty if everything does, or if the memory is unknown."""
    if plan.fits is not False or plan.limit_bytes is None:
        return ""
    if plan.reserved_bytes is not None and plan.engine_bytes > plan.reserved_bytes:
        return (
            f"An engine needs {_gb(plan.engine_bytes)} for {plan.weights_format} weights, one request and vLLM itself, but "
            f"{_PERCENT} gives it only {_gb(plan.reserved_bytes)} of {host.name}."
        )
    engines = "The engine needs" if plan.engines == 1 else f"The {plan.engines} engines of a switch need"
    return f"{engines} {_gb(plan.needed_bytes)}, but {host.name} has only {_gb(plan.limit_bytes)} for them."


def suggest_change(model: ServedModel, settings: Settings, host: ServingHost) -> str:
    """The nearest change with which serving fits: a setting, another format or engine, otherwise other memory."""
    alternatives = list(_alternatives(model, settings))
    for change, other, changed in alternatives:
        if plan_serving(other, changed, host).fits:
            return change
    if not host.gpu_bytes:
        return "more main memory, or a smaller base model"
    change, other, changed = alternatives[-1] if alternatives else ("", model, settings)
    prefix = f"{change} and " if change else ""
    card = _find_smallest_gpu(other, changed, host)
    return f"{prefix}--serving-gpu-memory {card} or more, or --serving-gpu-memory 0 for llama.cpp in main memory"


def _alternatives(model: ServedModel, settings: Settings) -> Iterator[tuple[str, ServedModel, Settings]]:
    if reads_folder(model.engine):
        percent = _SHARED_PERCENT if model.is_shared else VllmSettings().gpu_memory_percent
        yield f"{_PERCENT}={percent}", model, _with_percent(settings, percent)
        # vLLM applies an adapter to the 16-bit base model; one that was trained on 4 bits may differ too much there.
        if model.method == "lora" and not model.is_shared:
            adapter = replace(model, weights_format=LORA_SAFETENSORS)
            yield f"exports: [{LORA_SAFETENSORS}]", adapter, settings
            change = f"exports: [{LORA_SAFETENSORS}] and {_PERCENT}={_SHARED_PERCENT}"
            yield change, adapter, _with_percent(settings, _SHARED_PERCENT)
    current = weights_bytes(model.shape, model.weights_format)
    for name in _SMALLER_FORMATS:
        if weights_bytes(model.shape, name) < current:
            other = replace(model, engine="llama_cpp", weights_format=name)
            yield f"engine: llama_cpp and exports: [{name}]", other, settings


def _with_percent(settings: Settings, percent: int) -> Settings:
    return settings.model_copy(update={"vllm": settings.vllm.model_copy(update={"gpu_memory_percent": percent})})


def _find_smallest_gpu(model: ServedModel, settings: Settings, host: ServingHost) -> int:
    """GiB."""
    sizes = count(host.gpu_bytes // GIB)
    return next(size for size in sizes if plan_serving(model, settings, replace(host, gpu_bytes=size * GIB)).fits)


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
