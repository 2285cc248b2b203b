"""The slices of the GPU proof, in the order in which they run. Each fits into one visit to a machine.

`python -m benchmarks.gpu_proof.slices SLICE` runs one in this process; the runner starts it and limits its time. Exits with 1
if a part failed, and with 2 without a GPU unless it is a dry run.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.gpu_proof.results import SliceResult, SliceRun, find_reusable, result_file

BUDGET_SECONDS = 480.0
_FINISH_SECONDS = 30.0
"""Of the budget, for engines and services to stop and for the last figures."""
FAILED, NO_GPU = 1, 2


@dataclass(frozen=True)
class Slice:
    function: str
    summary: str

    def load(self) -> Callable[[SliceRun, Path], None]:
        """Imports the slice, which may import torch."""
        module, _, name = self.function.partition(":")
        run: Callable[[SliceRun, Path], None] = getattr(import_module(f"benchmarks.gpu_proof.{module}"), name)
        return run


SLICES: Mapping[str, Slice] = {
    "environment": Slice("environment:run", "bf16 and NF4 arithmetic, capabilities"),
    "qlora": Slice("qlora:run", "8B QLoRA and LoRA against plan, plain TRL and Unsloth"),
    "shapes": Slice("qlora:run_shapes", "QLoRA of Mistral 7B, Qwen2.5 1.5B and 7B against the plan"),
    "small_model": Slice("small_model:run", "QLoRA, judging, merging and release of a small model"),
    "serving": Slice("serving:run", "8B behind the gateway, and a switch under load"),
    "turns": Slice("turns:run", "training, judging and serving on one card"),
    "gpu_tests": Slice("gpu_tests:run", "the tests marked `gpu`"),
}


def main() -> None:
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slice", choices=list(SLICES))
    add_options(parser)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    # Imported here, because the list of slices is read without the product's packages.
    from benchmarks.gpu_proof.origin import read_origin
    from fine_tune_assets.core.processes.offline import go_offline

    go_offline()
    if given.dry:
        os.environ["OMP_NUM_THREADS"] = "1"  # for this process and the engines; read when torch is imported
    origin = read_origin()
    if not given.dry and origin.hardware["gpu"] is None:
        print("No GPU: torch sees none. Nothing was measured. --dry only tries the code.", file=sys.stderr)
        raise SystemExit(NO_GPU)
    found = find_reusable(result_file(given.out, given.slice, given.dry), origin, given.dry)
    if found is not None and is_done(found):
        print(f"{given.slice}: measured before with the same code and hardware.", file=sys.stderr)
        return
    given.scratch.mkdir(parents=True, exist_ok=True)
    proof = SliceRun(given.slice, given.out, given.dry, origin, given.budget_seconds - _FINISH_SECONDS, started)
    SLICES[given.slice].load()(proof, given.scratch)
    if proof.finish().has_failed_parts:
        raise SystemExit(FAILED)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder of the result files")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for models, 40 GB for a measurement")
    parser.add_argument("--dry", action="store_true", help="try the code with tiny shapes; measures nothing")
    parser.add_argument("--budget-seconds", type=float, default=BUDGET_SECONDS, help="of one slice")


def is_done(result: SliceResult) -> bool:
    """A slice with skipped parts runs again: a missing package may be there now. Parts that were measured are kept."""
    return result.is_complete and all(part.state == "measured" for part in result.parts.values())


def _interrupt(*_: Any) -> None:
    """End like at Ctrl+C, so that engines and services stop."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
