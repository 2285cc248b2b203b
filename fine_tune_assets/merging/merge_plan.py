"""Plans main memory and disk of merging, exporting and comparing a model, before any weights exist.

A merge never fails for lack of memory for the whole model: it then goes tensor by tensor. What it needs in any case is the
probes' outputs, the largest tensor and, for GGUF formats, the exported model, which llama.cpp compares in main memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fine_tune_assets.engines.model_sizes import ModelShape, weights_bytes
from fine_tune_assets.merging.gguf import QUANTIZED_TYPES
from fine_tune_assets.merging.probes import MAX_TEXT_CHARACTERS, TEXTS
from fine_tune_assets.merging.transformers_probes import (
    CPU_BYTES,
    GPU_BYTES,
    IN_MEMORY_BYTES,
    USABLE_FRACTION,
    MemoryBudget,
    choose_merge_method,
)
from fine_tune_assets.recipes.export_settings import GGUF_FORMATS, LORA, LORA_SAFETENSORS

LIBRARY_BYTES = 600_000_000
"""torch, transformers and peft (`fine-tune plan` measures 0.57 GB on a CPU)."""
TENSOR_BYTES = 4
"""Bytes per weight of the largest tensor in a merge tensor by tensor: read and written in 16 bits. Measured: 121 MB with
SmolLM2-135M (planned 113), 311 MB with 1.1 billion weights (planned 262); benchmarks/results/merging.md."""
_TEXT_TOKENS = MAX_TEXT_CHARACTERS // 3
"""Upper bound of a probe: tokens of English have more than 3 characters on average."""


@dataclass(frozen=True)
class MergePlan:
    memory_bytes: int
    """Main memory without which the merge or the comparison of an export fails."""
    whole_model_bytes: int
    """Main memory with which the model is merged at once, which is faster."""
    limit_bytes: int | None
    """Free main memory; None if unknown."""
    method: str | None
    """`in_memory` or `streaming` (tensor by tensor); None if the memory is unknown."""
    is_compared_slowly: bool | None
    """Whether the merged model exceeds the memory that compares it, so that layers are loaded in every pass; None if unknown."""
    disk_bytes: int
    free_disk_bytes: int | None
    """None if unknown."""

    @property
    def fits(self) -> bool | None:
        """None if memory and disk are unknown."""
        known = [
            needed <= limit
            for needed, limit in ((self.memory_bytes, self.limit_bytes), (self.disk_bytes, self.free_disk_bytes))
            if limit is not None
        ]
        return all(known) if known else None


def plan_merge(
    shape: ModelShape,
    exports: Sequence[str],
    served: str,
    adapter_bytes: int,
    *,
    max_length: int,
    gpu_bytes: int,
    memory_bytes: int | None,
    free_disk_bytes: int | None,
) -> MergePlan:
    """`served`: format of the release. `max_length`: tokens of an example. `gpu_bytes`: memory of the GPU; 0 without one. None:
    unknown."""
    # Log-probabilities of two models in 32 bits.
    outputs = 2 * TEXTS * min(max_length, _TEXT_TOKENS) * shape.vocabulary * 4
    loaded = [weights_bytes(shape, name) for name in exports if name in GGUF_FORMATS]
    budget = None if memory_bytes is None else MemoryBudget(int(memory_bytes * USABLE_FRACTION), gpu_bytes)
    return MergePlan(
        memory_bytes=LIBRARY_BYTES + outputs + max([TENSOR_BYTES * shape.embedding_weights, *loaded]),
        whole_model_bytes=LIBRARY_BYTES + outputs // 2 + IN_MEMORY_BYTES * shape.parameters,
        limit_bytes=memory_bytes,
        method=None if budget is None else choose_merge_method(shape.parameters, budget),
        is_compared_slowly=_is_compared_slowly(shape, gpu_bytes, budget),
        disk_bytes=_disk_bytes(shape, exports, served, adapter_bytes),
        free_disk_bytes=free_disk_bytes,
    )


def _is_compared_slowly(shape: ModelShape, gpu_bytes: int, budget: MemoryBudget | None) -> bool | None:
    if gpu_bytes:
        return shape.parameters * GPU_BYTES > gpu_bytes * USABLE_FRACTION
    return None if budget is None else shape.parameters * CPU_BYTES > budget.ram_bytes


def _disk_bytes(shape: ModelShape, exports: Sequence[str], served: str, adapter_bytes: int) -> int:
    """The merged weights, the exports, a 16-bit GGUF from which the K-quants are made, and the release's copy."""

    def stored(name: str) -> int:
        return adapter_bytes if name in (LORA, LORA_SAFETENSORS) else weights_bytes(shape, name)

    merged = weights_bytes(shape, "bfloat16")
    needs_source = any(name in QUANTIZED_TYPES for name in exports) and not {"f16", "bf16"} & set(exports)
    return merged + sum(map(stored, exports)) + (merged if needs_source else 0) + stored(served)


def describe_shortfall(plan: MergePlan) -> str:
    """What does not fit, and what to change; empty if everything fits, or if memory and disk are unknown."""
    reasons = []
    if plan.limit_bytes is not None and plan.memory_bytes > plan.limit_bytes:
        reasons.append(
            f"Merging and comparing need {plan.memory_bytes / 1e9:.1f} GB of main memory, but only "
            f"{plan.limit_bytes / 1e9:.1f} GB are free. Choose a smaller format in exports, or add memory."
        )
    if plan.free_disk_bytes is not None and plan.disk_bytes > plan.free_disk_bytes:
        reasons.append(
            f"Merged weights, exports and release need {plan.disk_bytes / 1e9:.1f} GB of disk, but only "
            f"{plan.free_disk_bytes / 1e9:.1f} GB are free. Free some disk space, or remove formats from exports."
        )
    return " ".join(reasons)
