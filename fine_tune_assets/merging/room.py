"""How large a model is, how much memory is free, and so in which way it is merged. Owns the decision; reads headers only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from fine_tune_assets.core.memory import available_bytes
from fine_tune_assets.merging.shards import stored_tensors

WHOLE_BYTES = 6
"""Of one weight while a model is merged whole: 32 bits, and the 16 bits that they become."""
SPARE = 0.9
"""Share of what is free that may be used."""


@dataclass(frozen=True)
class Room:
    memory: int
    """Free bytes of the machine."""
    gpu: int = 0
    """Free bytes of its GPU; 0 without one."""


def free_room() -> Room:
    gpu = int(torch.cuda.mem_get_info()[0] * SPARE) if torch.cuda.is_available() else 0
    return Room(int(available_bytes() * SPARE), gpu)


def route(parameters: int, room: Room) -> Literal["whole", "by_tensor"]:
    """How a model of so many weights is merged. Both ways give the same weights."""
    return "whole" if parameters * WHOLE_BYTES <= room.memory else "by_tensor"


def parameters_of(folder: Path) -> int:
    """Weights of the model in a folder."""
    return sum(tensor.numbers for tensor in stored_tensors(folder).values())
