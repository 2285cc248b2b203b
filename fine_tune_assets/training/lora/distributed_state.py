"""Coordinates the processes (ranks) of one training, and shards the model among them (FSDP2)."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from fine_tune_assets.training.failures import TrainingError

T = TypeVar("T")


def world_size() -> int:
    return dist.get_world_size() if _is_distributed() else 1


def is_main_process() -> bool:
    """The main process reports progress and writes checkpoints and the adapter."""
    return not _is_distributed() or dist.get_rank() == 0


def rank_seed(seed: int) -> int:
    """A seed for each rank: with the same seed, dropout would hit the same positions on all ranks."""
    return seed + (dist.get_rank() if _is_distributed() else 0)


def run_main_process_first(action: Callable[[], T]) -> T:
    """Run on every process, the main one first, so that the others see what it wrote or removed."""
    if is_main_process():
        result = action()
        wait_for_everyone()
    else:
        wait_for_everyone()
        result = action()
    wait_for_everyone()
    return result


def wait_for_everyone() -> None:
    if _is_distributed():
        dist.barrier()


def broadcast_flag(flag: bool) -> bool:
    """The main process's flag, for decisions that depend on its clock."""
    return bool(_exchange([float(flag)], lambda values: dist.broadcast(values, src=0))[0])


def sum_over_ranks(values: list[float]) -> list[float]:
    """Element-wise sums over all ranks."""
    return _exchange(values, dist.all_reduce)


def _exchange(values: list[float], exchange: Callable[[torch.Tensor], Any]) -> list[float]:
    if not _is_distributed():
        return values
    tensor = torch.tensor(values, dtype=torch.float64)
    exchange(tensor)
    return [float(value) for value in tensor]


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def distributed_arguments(is_sharded: bool, on_gpu: bool) -> dict[str, Any]:
    """Values for transformers' TrainingArguments."""
    # Every rank already gets the same number of rows; accelerate could only duplicate some.
    common = {"accelerator_config": {"even_batches": False}, "ddp_find_unused_parameters": False}
    backend = {} if on_gpu else {"ddp_backend": "gloo"}
    return {**common, **backend, **(_FSDP if is_sharded else {})}


_FSDP: dict[str, Any] = {
    "fsdp": True,
    "fsdp_config": {
        "version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "reshard_after_forward": True,
        # Each rank reads the weights itself; the adapter is initialized from the same seed on all.
        "cpu_ram_efficient_loading": False,
        # The adapter is small: saved in full, a checkpoint can be resumed with another number of ranks.
        "state_dict_type": "FULL_STATE_DICT",
    },
}


def enable_cpu_sharding() -> None:
    """Make accelerate 1.15 shard on CPUs; otherwise it silently trains full copies there.

    accelerate reads the device type once, when it creates its state; torch itself can shard on CPUs.
    """
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    state = PartialState()
    if state.distributed_type == DistributedType.MULTI_CPU:
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def require_sharded(model: Any) -> None:
    """Raise TrainingError unless every weight is sharded: libraries fall back to full copies without an error."""
    unsharded = [name for name, parameter in model.named_parameters() if not isinstance(parameter, DTensor)]
    if unsharded:
        raise TrainingError(
            f"{len(unsharded)} weights are not sharded, such as {unsharded[0]}. Set training.sharding: none in the recipe, or "
            "train on a machine whose libraries can shard this base model."
        )


def gather_adapter_weights(model: Any) -> dict[str, torch.Tensor]:
    """The trained weights in full on the CPU, by their names in the model. A collective operation: all ranks must call it."""
    return {name: _full_tensor(p).detach().cpu() for name, p in model.named_parameters() if p.requires_grad}


def _full_tensor(parameter: torch.Tensor) -> torch.Tensor:
    return parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
