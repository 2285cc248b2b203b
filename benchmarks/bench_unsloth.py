"""Compare TRL with Unsloth: same recipe, rows and base model, each in its own process and environment.

Rows are pairs of dialogue and note from MTS-Dialog, as in bench_train. Needs a GPU: Unsloth has no CPU kernels, so its speed on a
CPU is meaningless. Plain PEFT evaluates every adapter by its loss on the same held-out answers.
"""

import argparse
import json
import os
import subprocess
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from bench_train import SETTINGS, instruction_set, said_by, validation_loss
from rich.console import Console
from rich.table import Table

from benchmarks.training_baseline import StepClock
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT, go_offline
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.training.environments import EngineMissingError, require_environment

ENGINES = ("trl", "unsloth")
NO_GPU = "No GPU: {python} sees none. Nothing was compared. (--allow-cpu only tries this script.)"
LEARNING_RATE = 2e-4


def train(folder: Path, settings: TrainingSettings) -> dict[str, Any]:
    """Runs in the environment of the engine."""
    go_offline()
    from fine_tune_assets.training.lora.training_engines import library_versions, prepare_engine

    prepare_engine(settings.engine)
    from fine_tune_assets.training.lora.trainer import train_adapter

    clock = StepClock()
    base = Path((folder / "base.txt").read_text())
    root = folder / settings.engine
    trained = train_adapter(
        pq.read_table(folder / "set.parquet"), base, "base", root / "adapters", root / "checkpoints", settings, 0, clock
    )
    return {
        "adapter": str(trained.folder),
        "steps": trained.steps,
        "seconds_per_step": clock.seconds_per_step,
        "supervised_tokens_per_second": trained.supervised_tokens
        * settings.epochs
        / (trained.steps * clock.seconds_per_step),
        "peak_bytes": trained.peak_memory_bytes,
        "first_validation_loss": trained.first_validation_loss,
        "packing": trained.packing,
        "libraries": library_versions(settings.engine),
    }


def measure(python: Path, folder: Path, settings: TrainingSettings) -> dict[str, Any]:
    """Measure in a separate process with exclusive use of the GPU."""
    command = [str(python), __file__, "--train", json.dumps(asdict(settings)), "--folder", str(folder)]
    environment = {**os.environ, **OFFLINE_ENVIRONMENT, "PYTHONPATH": str(PROJECT_DIR)}
    return said_by(command, settings.engine, environment)


def require_gpu(python: Path) -> None:
    """Exit with an error unless that Python's torch sees a GPU."""
    command = [str(python), "-c", "import sys, torch; sys.exit(not torch.cuda.is_available())"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise SystemExit(NO_GPU.format(python=python))


def show(found: dict[str, dict[str, Any]], method: str) -> None:
    table = Table(title=f"The same rows with both engines ({method})")
    for name in ("engine", "answer tokens/s", "s a step", "steps", "peak GB", "first loss", "held-out loss", "packing"):
        table.add_column(name)
    for engine, values in found.items():
        table.add_row(
            engine,
            f"{values['supervised_tokens_per_second']:.1f}",
            f"{values['seconds_per_step']:.3f}",
            str(values["steps"]),
            f"{values['peak_bytes'] / 1e9:.2f}",
            f"{values['first_validation_loss']:.4f}",
            f"{values['held_out_loss']:.4f}",
            values["packing"],
        )
    Console(width=110).print(table)


def ratios(found: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Ratios of Unsloth to TRL; differences for losses."""
    trl, unsloth = found["trl"], found["unsloth"]
    return {
        "speed": unsloth["supervised_tokens_per_second"] / trl["supervised_tokens_per_second"],
        "peak": unsloth["peak_bytes"] / trl["peak_bytes"],
        "loss_difference": unsloth["held_out_loss"] - trl["held_out_loss"],
        "first_loss_difference": unsloth["first_validation_loss"] - trl["first_validation_loss"],
    }


def compare(arguments: argparse.Namespace) -> None:
    try:
        unsloth = load_settings().unsloth_interpreter
        pythons = {engine: require_environment(engine, unsloth, is_cluster=False) for engine in ENGINES}
    except EngineMissingError as error:
        raise SystemExit(str(error)) from None
    for python in () if arguments.allow_cpu else pythons.values():
        require_gpu(python)
    from fine_tune_assets.engines.transformers_models import load_adapted
    from fine_tune_assets.training.base_models.registration import import_bundled_model

    bundled = load_settings().layout.base_models / "SmolLM2-135M-Instruct"
    base = arguments.base or import_bundled_model(bundled)
    settings = replace(SETTINGS, method=arguments.method, learning_rate=LEARNING_RATE)
    table = instruction_set(arguments.rows, arguments.validation)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "base.txt").write_text(str(base))
        pq.write_table(table, folder / "set.parquet")
        found = {e: measure(python, folder, replace(settings, engine=e)) for e, python in pythons.items()}
        for values in found.values():
            # PEFT without Unsloth.
            model = load_adapted(base, Path(values.pop("adapter")), is_quantized=settings.method == "qlora")
            values["held_out_loss"] = validation_loss(model, table, base, settings.max_length)
    show(found, arguments.method)
    summary = {"settings": asdict(settings), "rows": arguments.rows, "base": base.name}
    print(json.dumps({**summary, "engines": found, "ratios": ratios(found)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=800, help="training examples; more are slower and less noisy")
    parser.add_argument("--validation", type=int, default=40)
    parser.add_argument("--method", choices=("lora", "qlora"), default="qlora")
    parser.add_argument("--base", type=Path, help="a local base model folder; default: the bundled small one")
    parser.add_argument(
        "--allow-cpu", action="store_true", help="try this script without a GPU; its speeds are then meaningless"
    )
    parser.add_argument("--train", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    go_offline()
    if arguments.train:
        print(json.dumps(train(arguments.folder, TrainingSettings(**json.loads(arguments.train)))))
        return
    compare(arguments)


if __name__ == "__main__":
    main()
