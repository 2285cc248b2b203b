"""Runs one slice in this process: `python -m benchmarks.gpu_proof.slice_process SLICE`. The runner starts it and limits its time.

Exits with 1 if a part failed, and with 2 without a GPU unless it is a dry run.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

from benchmarks.gpu_proof.origin import read_origin
from benchmarks.gpu_proof.results import SliceResult, SliceRun, find_reusable, result_file
from benchmarks.gpu_proof.slices import BUDGET_SECONDS, SLICES
from fine_tune_assets.core.processes.offline import go_offline

FAILED, NO_GPU = 1, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slice", choices=list(SLICES))
    add_options(parser)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
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
    proof = SliceRun(given.slice, given.out, given.dry, origin, given.budget_seconds)
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
