"""Runs the GPU proof: `python -m benchmarks.gpu_proof [SLICE …] --out FOLDER --scratch FOLDER [--dry]`, or `make gpu-proof`.

Each slice has its own process and its own time. Prints a table, then one JSON line; exits with 1 if a slice failed.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.gpu_proof.origin import ROOT
from benchmarks.gpu_proof.results import ResultError, SliceResult, read_result, result_file
from benchmarks.gpu_proof.slices import SLICES, run_here

_BUDGET_SECONDS = 480.0
_STOP_SECONDS = 45.0
"""For engines and services to stop when a slice is out of time."""


def main() -> None:
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slices", nargs="*", metavar="SLICE", help=f"{', '.join(SLICES)}; default: all")
    parser.add_argument("--out", type=Path, required=True, help="folder of the result files")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for models, 40 GB for a measurement")
    parser.add_argument("--dry", action="store_true", help="try the code with tiny shapes; measures nothing")
    parser.add_argument("--budget-seconds", type=float, default=_BUDGET_SECONDS, help="of one slice")
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := [name for name in given.slices if name not in SLICES]:
        parser.error(f"unknown slice {unknown[0]}; known: {', '.join(SLICES)}")
    options = (given.out, given.scratch, given.dry, given.budget_seconds)
    if given.in_this_process:
        signal.signal(signal.SIGTERM, _interrupt)
        raise SystemExit(run_here(given.slices[0], *options, started))
    codes = {name: run_slice(name, *options) for name in given.slices or SLICES}
    for name, code in codes.items():
        print(summarize(name, code, _read(result_file(given.out, name, given.dry))))
    print(json.dumps({"dry": given.dry, "exit_status": codes}))
    if any(codes.values()):
        raise SystemExit(1)


def _interrupt(*_: Any) -> None:
    """End like at Ctrl+C, so that engines and services stop."""
    raise KeyboardInterrupt


def run_slice(name: str, out: Path, scratch: Path, dry: bool, budget_seconds: float) -> int:
    """Exit status of the slice's process; negative if it was out of time."""
    command = [
        sys.executable, "-m", "benchmarks.gpu_proof", name, "--in-this-process", "--out", str(out.absolute()),
        "--scratch", str(scratch.absolute()), "--budget-seconds", str(budget_seconds), *(["--dry"] if dry else []),
    ]  # fmt: skip
    search = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": search}, start_new_session=True)
    return wait_or_stop(process, budget_seconds)


def wait_or_stop(process: subprocess.Popen[bytes], timeout_seconds: float) -> int:
    """Exit status of the leader of a session. What it leaves behind is killed, because it would occupy the card."""
    try:
        return process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        return -signal.SIGTERM
    finally:
        process.terminate()  # does nothing if it has ended
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read(path: Path) -> SliceResult | None:
    try:
        return read_result(path)
    except ResultError:
        return None


def summarize(name: str, code: int, result: SliceResult | None) -> str:
    if result is None:
        return f"{name}: no result (exit status {code})"
    states = [part.state for part in result.parts.values()]
    counts = ", ".join(
        f"{states.count(state)} {state}" for state in ("measured", "skipped", "failed") if state in states
    )
    kind = "dry run" if result.dry else str(result.origin.hardware["gpu"])
    return f"{name} ({kind}): {counts}{'' if result.is_complete else '; out of time'}"


if __name__ == "__main__":
    main()
