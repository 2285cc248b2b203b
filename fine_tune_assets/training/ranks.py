"""The processes of one training (ranks): which one this is, and what they must agree on.

Owns the few words that they exchange beside gradients and weights. With one process there is nobody to ask. All of them must
come here in the same order, or they wait for each other for ever.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist

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
