"""Compare the memory and disk use of a training plan with the measured values. `make bench-plan`.

Pairs of dialogue and note as in bench_train, SmolLM2-135M-Instruct. Each plan and each training runs in a separate process, as in
the graph. Exits with 1 if memory differs by more than the plan's tolerance, or disk use exceeds the planned maximum.
"""

import argparse
import json
import sys
import tempfile
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from bench_train import SETTINGS, instruction_set, said_by
from rich.console import Console
from rich.table import Table

from fine_tune_assets.core.processes.offline import go_offline, use_large_pages
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.training.planning.resource_plan import is_within_tolerance

SHORT = replace(SETTINGS, packing="never", max_length=1024, batch_size=4, gradient_accumulation=1)
CASES = {
    "LoRA, 4 rows": SHORT,
    "LoRA, 1 row": replace(SHORT, batch_size=1, gradient_accumulation=4),
    "LoRA, 8 rows of 256": replace(SHORT, batch_size=8, max_length=256, overlong_examples="exclude"),
    "LoRA, computed again": replace(SHORT, gradient_checkpointing=True),
    "LoRA, packed": replace(SHORT, packing="bfd"),
    "LoRA, rank 64": replace(SHORT, rank=64),
    "DoRA, 2 rows": replace(SHORT, method="dora", batch_size=2),
    "QLoRA, 4 rows": replace(SHORT, method="qlora"),
    "QLoRA, computed again": replace(SHORT, method="qlora", gradient_checkpointing=True),
}
FIGURES = ("memory", "disk")


def run_plan(settings: TrainingSettings, folder: Path, threads: int) -> dict[str, Any]:
    from fine_tune_assets.core.progress import ignore_progress
    from fine_tune_assets.engines.transformers_models import load_tokenizer
    from fine_tune_assets.training.planning.measured_plan import RowLength, plan_training
    from fine_tune_assets.training.supervision.loss_mask import supervise

    base = Path((folder / "base.txt").read_text())
    tokenizer, lengths = load_tokenizer(base), []
    for row in pq.read_table(folder / "set.parquet").to_pylist():
        found = supervise(tokenizer, row["example_id"], row["messages"])
        lengths.append(
            RowLength(
                split=row["split"], tokens=len(found.input_ids), supervised_tokens=found.supervised_tokens, error=None
            )
        )
    plan = plan_training(lengths, base, settings, folder / "checkpoints", threads, 0, ignore_progress)
    return {
        "memory": plan["peak_bytes"],
        "disk": plan["disk_bytes"],
        "steps": plan["steps"],
    }


class LargestFolder(threading.Thread):
    """Bytes of all files below a folder, at their most."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.bytes, self.over = folder, 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.02):
            self.bytes = max(self.bytes, sum(_size(path) for path in self.folder.rglob("*")))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:  # removed meanwhile
        return 0


def run_training(settings: TrainingSettings, folder: Path, threads: int) -> dict[str, Any]:
    from fine_tune_assets.core.progress import ignore_progress
    from fine_tune_assets.training.lora.trainer import train_adapter

    written = LargestFolder(folder / "written")
    written.start()
    done = train_adapter(
        pq.read_table(folder / "set.parquet"), Path((folder / "base.txt").read_text()), "base",
        folder / "written" / "adapters", folder / "written" / "checkpoints", settings, threads, ignore_progress,
    )  # fmt: skip
    written.over.set()
    return {
        "memory": done.peak_memory_bytes,
        "disk": written.bytes,
        "steps": done.steps,
    }


def measure(case: str, what: str, folder: Path, threads: int) -> dict[str, Any]:
    command = [
        sys.executable,
        __file__,
        "--case",
        case,
        "--what",
        what,
        "--folder",
        str(folder),
        "--threads",
        str(threads),
    ]
    return said_by(command, f"{case}, {what},")


def show(found: dict[str, dict[str, dict[str, Any]]]) -> None:
    table = Table(title="Planned, then measured, SmolLM2-135M-Instruct")
    for name in ("training", "memory MB", "", "disk MB", "", "steps"):
        table.add_column(name)
    for case, values in found.items():
        plan, done = values["plan"], values["training"]
        cells = []
        for figure in FIGURES:
            cells += [
                f"{plan[figure] / 1e6:.0f}, {done[figure] / 1e6:.0f}",
                f"{done[figure] / plan[figure] - 1:+.0%}",
            ]
        table.add_row(case, *cells, f"{plan['steps']}, {done['steps']}")
    Console(width=120).print(table)


def _is_off(figure: str, planned: float, measured: float) -> bool:
    """The disk's is a bound: how many checkpoints lie there at once depends on which one is the best."""
    return measured > planned if figure == "disk" else not is_within_tolerance(planned, measured)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=48, help="training examples")
    parser.add_argument("--validation", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--what", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    go_offline()
    use_large_pages()
    if arguments.case:
        run = run_plan if arguments.what == "plan" else run_training
        print(json.dumps(run(CASES[arguments.case], arguments.folder, arguments.threads)))
        return
    from fine_tune_assets.training.base_models.registration import import_bundled_model

    base = import_bundled_model(load_settings().layout.base_models / "SmolLM2-135M-Instruct")
    table, found = instruction_set(arguments.rows, arguments.validation), dict[str, Any]()
    for case in arguments.cases:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            (folder / "base.txt").write_text(str(base))
            pq.write_table(table, folder / "set.parquet")
            found[case] = {what: measure(case, what, folder, arguments.threads) for what in ("plan", "training")}
    show(found)
    off = [
        f"{case}: {figure}"
        for case, values in found.items()
        for figure in FIGURES
        if _is_off(figure, values["plan"][figure], values["training"][figure])
    ]
    print(json.dumps({"settings": asdict(SHORT), "rows": arguments.rows, "cases": found, "off": off}))
    if off:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
