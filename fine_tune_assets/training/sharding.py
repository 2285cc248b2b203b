"""A model whose weights are cut up among the ranks (FSDP2), so that one that fits on no card can be trained.

Owns telling accelerate to do so, the proof that it did, and gathering the adapter's weights. Each layer of the model is one
unit, with the adapter's weights in it: it is put together while it computes, and cut up again.
"""

from typing import Any

import torch
from torch.distributed.tensor import DTensor

from fine_tune_assets.training.failures import TrainingError


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
