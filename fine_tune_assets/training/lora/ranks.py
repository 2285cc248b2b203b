"""The processes of one training (ranks): which one this is, what they must agree on, and a model cut up among them (FSDP2)."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from fine_tune_assets.training.failures import TrainingError

T = TypeVar("T")


def count() -> int:
    return dist.get_world_size() if _are_several() else 1


def is_first() -> bool:
    """The first one tells progress and writes checkpoints and the adapter."""
    return not _are_several() or dist.get_rank() == 0


def own_seed(seed: int) -> int:
    """Another one for each process: else all would drop out the same places of different examples."""
    return seed + (dist.get_rank() if _are_several() else 0)


def first_before_others(action: Callable[[], T]) -> T:
    """Every process acts, the first one before the others: what it removed or wrote, they find so."""
    if is_first():
        done = action()
        wait_for_all()
    else:
        wait_for_all()
        done = action()
    wait_for_all()
    return done


def wait_for_all() -> None:
    if _are_several():
        dist.barrier()


def as_first_says(flag: bool) -> bool:
    """The first one's, for what would differ: clocks."""
    return bool(_exchanged([float(flag)], lambda values: dist.broadcast(values, src=0))[0])


def summed(values: list[float]) -> list[float]:
    """Over all processes."""
    return _exchanged(values, dist.all_reduce)


def _exchanged(values: list[float], exchange: Callable[[torch.Tensor], Any]) -> list[float]:
    if not _are_several():
        return values
    held = torch.tensor(values, dtype=torch.float64)
    exchange(held)
    return [float(value) for value in held]


def _are_several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def several_ranks(is_sharded: bool, on_gpu: bool) -> dict[str, Any]:
    """For transformers' TrainingArguments."""
    # Every rank is given as many rows as any other: accelerate has nothing to add, and could only double some.
    common = {"accelerator_config": {"even_batches": False}, "ddp_find_unused_parameters": False}
    backend = {} if on_gpu else {"ddp_backend": "gloo"}
    return {**common, **backend, **(_FSDP if is_sharded else {})}


_FSDP: dict[str, Any] = {
    "fsdp": True,
    "fsdp_config": {
        "version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "reshard_after_forward": True,
        # Each rank reads the weights itself: the adapter's first ones come from the same seed on all.
        "cpu_ram_efficient_loading": False,
        # The adapter is small: whole in the checkpoint, it can be gone on from with another number of ranks.
        "state_dict_type": "FULL_STATE_DICT",
    },
}


def have_accelerate_shard_on_cpu() -> None:
    """accelerate 1.15 knows FSDP on accelerators only: on a CPU it trains whole copies and says nothing.

    It asks for the kind of its ranks once, when it sets up its state; torch itself shards on a CPU too.
    """
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    state = PartialState()
    if state.distributed_type == DistributedType.MULTI_CPU:
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def require_sharded(model: Any) -> None:
    """Raise TrainingError unless every weight is cut up: a library that falls back to whole copies does so in silence."""
    whole = [name for name, parameter in model.named_parameters() if not isinstance(parameter, DTensor)]
    if whole:
        raise TrainingError(
            f"{len(whole)} weights are not sharded ({whole[0]} is the first). Set training.sharding: none in the recipe, or "
            "train on a machine whose libraries can shard this base model."
        )


def adapter_weights(model: Any) -> dict[str, torch.Tensor]:
    """The weights that are trained, whole and on the CPU, by their names in the model. All ranks must ask together."""
    return {name: _whole(p).detach().cpu() for name, p in model.named_parameters() if p.requires_grad}


def _whole(parameter: torch.Tensor) -> torch.Tensor:
    return parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
