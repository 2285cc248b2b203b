"""The plan of a training on one instruction set, as a row: what fits, what it takes, and what to change if it does not fit.

Owns the order of the questions. Imports what training imports, since on a CPU that is part of what a training holds.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fine_tune_assets.training.trainer  # noqa: F401 (its memory is counted)
from fine_tune_assets.core.files import make_folder
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.engines.transformers_models import use_threads
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.training.failures import TrainingError, free_bytes
from fine_tune_assets.training.planning import gpu_of, lengths_of, planner, seconds_of, this_machine
from fine_tune_assets.training.resource_plan import Machine, elsewhere, plan_row

GIB = 2**30


def plan_of_set(
    lengths: Sequence[Mapping[str, Any]],
    base_folder: Path,
    settings: TrainingSettings,
    checkpoints_dir: Path,
    threads: int,
    gpu_memory_gb: int,
    progress: Progress,
) -> dict[str, Any]:
    """`lengths`: rows of example_lengths. `gpu_memory_gb`: of a GPU elsewhere; 0 asks this machine. Raises TrainingError."""
    use_threads(threads)
    train, validation = (lengths_of(lengths, split) for split in ("train", "validation"))
    require_cards(settings.processes, gpu_memory_gb)
    machine = chosen_machine(gpu_memory_gb)
    planning = planner(base_folder, train, machine)
    plan = planning.chosen(settings)
    progress(1, 2, "parts of the plan: memory")
    nearest = None if plan.fits else planning.nearest(settings)
    seconds = None
    # Time is measured where it will be spent; what does not fit is not tried.
    if plan.fits and not gpu_memory_gb and settings.processes == 1 and settings.engine == "trl":
        seconds = seconds_of(base_folder, plan, train.within(settings), validation.within(settings))
    progress(2, 2, "parts of the plan: time")
    make_folder(checkpoints_dir)
    return plan_row(plan, nearest, machine, free_bytes(checkpoints_dir), seconds)


def plan_of_lengths(
    lengths: Sequence[Mapping[str, Any]],
    base_folder: Path,
    settings: TrainingSettings,
    machine: Machine,
    written_to: Path,
) -> dict[str, Any]:
    """As `plan_of_set`, for any machine and without the time. `written_to`: a folder on the disk that checkpoints go to."""
    planning = planner(base_folder, lengths_of(lengths, "train"), machine)
    plan = planning.chosen(settings)
    return plan_row(plan, None if plan.fits else planning.nearest(settings), machine, free_bytes(written_to), None)


def plan_before_data(
    base_folder: Path, settings: TrainingSettings, machine: Machine, written_to: Path
) -> dict[str, Any]:
    """A step of rows that are all as long as they may be; how many steps there will be nobody knows."""
    step = settings.batch_size * settings.gradient_accumulation
    longest = [{"split": "train", "tokens": settings.max_length, "learned": settings.max_length, "fault": None}] * step
    return {**plan_of_lengths(longest, base_folder, settings, machine, written_to), "steps": None}


def require_cards(processes: int, gpu_memory_gb: int) -> None:
    """Raise TrainingError if this machine has GPUs, and fewer than processes."""
    import torch

    cards = torch.cuda.device_count() if torch.cuda.is_available() and not gpu_memory_gb else processes
    if processes > cards:
        raise TrainingError(
            f"training.processes is {processes}, and this machine has {cards} GPUs: each process needs one."
        )


def chosen_machine(gpu_memory_gb: int) -> Machine:
    return gpu_of(gpu_memory_gb * GIB, elsewhere(gpu_memory_gb)) if gpu_memory_gb else this_machine()
