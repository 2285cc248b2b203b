"""The slices of the GPU proof, in the order in which they run. Each fits into one visit to a machine."""

import os
import sys
from importlib import import_module
from pathlib import Path

from benchmarks.gpu_proof.results import SliceResult, SliceRun, find_reusable, result_file

SLICES = {
    "environment": "environment:run",
    "qlora": "qlora:run",
    "shapes": "qlora:run_shapes",
    "small_model": "small_model:run",
    "serving": "serving:run",
    "turns": "turns:run",
    "gpu_tests": "gpu_tests:run",
}
"""Name → module and function."""
FAILED, NO_GPU = 1, 2
_FINISH_SECONDS = 30.0
"""Of the budget, for engines and services to stop and for the last figures."""


def run_here(name: str, out: Path, scratch: Path, dry: bool, budget_seconds: float, started: float) -> int:
    """Run a slice in this process; returns its exit status: FAILED if a part failed, NO_GPU without one unless it is a dry run.

    `started`: monotonic time from which the budget counts.
    """
    # Imported here, because the list of slices is read without the product's packages.
    from benchmarks.gpu_proof.origin import read_origin
    from fine_tune_assets.core.processes.offline import go_offline

    go_offline()
    if dry:
        os.environ["OMP_NUM_THREADS"] = "1"  # for this process and the engines; read when torch is imported
    origin = read_origin()
    if not dry and origin.hardware["gpu"] is None:
        print("No GPU: torch sees none. Nothing was measured. --dry only tries the code.", file=sys.stderr)
        return NO_GPU
    found = find_reusable(result_file(out, name, dry), origin, dry)
    if found is not None and is_done(found):
        print(f"{name}: measured before with the same code and hardware.", file=sys.stderr)
        return 0
    scratch.mkdir(parents=True, exist_ok=True)
    proof = SliceRun(name, out, dry, origin, budget_seconds - _FINISH_SECONDS, started)
    module, _, function = SLICES[name].partition(":")
    getattr(import_module(f"benchmarks.gpu_proof.{module}"), function)(proof, scratch)
    return FAILED if proof.finish().has_failed_parts else 0


def is_done(result: SliceResult) -> bool:
    """A slice with skipped parts runs again: a missing package may be there now. Parts that were measured are kept."""
    return result.is_complete and all(part.state == "measured" for part in result.parts.values())
