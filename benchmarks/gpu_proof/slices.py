"""The slices of the GPU proof, in the order in which they run. Each fits into one visit to a machine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from benchmarks.gpu_proof.results import SliceRun

BUDGET_SECONDS = 480.0


@dataclass(frozen=True)
class Slice:
    module: str
    summary: str

    def load(self) -> Callable[[SliceRun, Path], None]:
        """Imports the slice, which may import torch."""
        run: Callable[[SliceRun, Path], None] = import_module(f"benchmarks.gpu_proof.{self.module}").run
        return run


SLICES: Mapping[str, Slice] = {
    "environment": Slice("environment", "bf16 and NF4 arithmetic, capabilities"),
    "qlora": Slice("qlora", "8B QLoRA and LoRA against plan, plain TRL and Unsloth"),
    "shapes": Slice("other_shapes", "QLoRA of Mistral 7B, Qwen2.5 1.5B and 7B against the plan"),
    "small_model": Slice("small_model", "QLoRA, judging, merging and release of a small model"),
    "serving": Slice("serving", "8B behind the gateway, and a switch under load"),
    "turns": Slice("turns", "training, judging and serving on one card"),
    "gpu_tests": Slice("gpu_tests", "the tests marked `gpu`"),
}
