"""Plans one training for this machine or a remote GPU: whether it fits, and what to change.

Collects the inputs of `resource_plan`: the machine, and the lengths of rows and passes. Imports what training imports, because on
a CPU the libraries are part of its memory.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch
from datasets import Dataset

import fine_tune_assets.training.lora.trainer  # noqa: F401 (its memory is measured)
from fine_tune_assets.core.files import make_folder
from fine_tune_assets.core.processes.memory import available_bytes
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.engines.model_sizes import GPU_USABLE_FRACTION
from fine_tune_assets.engines.transformers_models import best_device, set_threads
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.tables.record_classes import Record
from fine_tune_assets.training.failures import TrainingError, free_bytes
from fine_tune_assets.training.lora.batch_order import (
    Batching,
    LengthSampler,
    attention_share,
    choose_batching,
    chunked,
    distribute_batching,
    pack_rows,
)
from fine_tune_assets.training.lora.training_engines import select_engine
from fine_tune_assets.training.planning.peak_memory import measure_step_memory, read_base_size
from fine_tune_assets.training.planning.resource_plan import (
    BatchShape,
    Lengths,
    Machine,
    Planner,
    make_plan_row,
    remote_gpu_name,
)
from fine_tune_assets.training.planning.shapes import Pass

GIB = 2**30
GPU_CONTEXT_BYTES = 900_000_000
"""GPU memory of CUDA's context and the libraries' workspaces besides torch's tensors: 0.5 to 0.9 GB, by card and driver."""


class RowLength(Record):
    """A row of `example_lengths`."""

    split: str
    tokens: int | None
    supervised_tokens: int | None
    error: str | None


def plan_training(
    lengths: Sequence[RowLength],
    base_folder: Path,
    settings: TrainingSettings,
    checkpoints_dir: Path,
    threads: int,
    gpu_memory_gb: int,
    progress: Progress,
) -> dict[str, Any]:
    """`gpu_memory_gb`: of a remote GPU; 0 means this machine. Raises TrainingError."""
    set_threads(threads)
    require_gpus(settings.processes, gpu_memory_gb)
    make_folder(checkpoints_dir)
    machine = select_machine(gpu_memory_gb)
    row = plan_for_lengths(split_lengths(lengths, "train"), base_folder, settings, machine, checkpoints_dir)
    progress(1, 1, "trainings planned")
    return row


def plan_for_lengths(
    lengths: Lengths, base_folder: Path, settings: TrainingSettings, machine: Machine, disk_folder: Path
) -> dict[str, Any]:
    """`plan_training` for any machine. `disk_folder`: a folder on the disk for checkpoints."""
    planning = make_planner(base_folder, lengths, machine)
    plan = planning.plan_recipe(settings)
    nearest = None if plan.fits else planning.find_nearest(settings)
    return make_plan_row(plan, nearest, machine, free_bytes(disk_folder))


def plan_without_data(
    base_folder: Path, settings: TrainingSettings, machine: Machine, disk_folder: Path
) -> dict[str, Any]:
    """Plan a step in which all rows have the maximum length; the number of steps is unknown."""
    step = settings.batch_size * settings.gradient_accumulation
    longest = (settings.max_length,) * step
    return {**plan_for_lengths(Lengths(longest, longest), base_folder, settings, machine, disk_folder), "steps": None}


def require_gpus(processes: int, gpu_memory_gb: int) -> None:
    """Raise TrainingError if this machine has GPUs, but fewer than `processes`."""
    cards = torch.cuda.device_count() if torch.cuda.is_available() and not gpu_memory_gb else processes
    if processes > cards:
        raise TrainingError(
            f"training.processes is {processes}, but this machine has {cards} GPUs and each process needs one. Lower it."
        )


def select_machine(gpu_memory_gb: int) -> Machine:
    return gpu_machine(gpu_memory_gb * GIB, remote_gpu_name(gpu_memory_gb)) if gpu_memory_gb else measure_this_machine()


def measure_this_machine() -> Machine:
    """Call this after all training libraries are imported, and before a model is loaded."""
    if best_device() == "cuda":
        free, _ = torch.cuda.mem_get_info()
        return gpu_machine(free, torch.cuda.get_device_properties(0).name)
    used_bytes = psutil.Process().memory_info().rss
    return Machine("this machine's memory", False, used_bytes + available_bytes(), used_bytes)


def total_gpu_bytes() -> int:
    """Memory of this machine's first GPU, including what is in use; 0 without one."""
    return int(torch.cuda.mem_get_info()[1]) if best_device() == "cuda" else 0


def gpu_machine(memory_bytes: int, name: str) -> Machine:
    return Machine(name, True, int(memory_bytes * GPU_USABLE_FRACTION), GPU_CONTEXT_BYTES)


def make_planner(base_folder: Path, lengths: Lengths, machine: Machine) -> Planner:
    """Reads only config.json from `base_folder`."""

    def estimate_memory(settings: TrainingSettings, one: Pass) -> Any:
        memory = measure_step_memory(
            base_folder, settings, one, machine.is_gpu, settings.recomputes_activations(machine.is_gpu)
        )
        if settings.sharding == "none":
            return memory
        # A plain model is loaded into CPU memory, a 4-bit model onto the GPU.
        return memory.shard(settings.processes, is_loaded_whole=not machine.is_gpu or settings.method == "qlora")

    def estimate_shape(settings: TrainingSettings, lengths_kept: Lengths) -> BatchShape:
        passes, batching = plan_passes(base_folder, settings, lengths_kept)
        largest = max(passes, key=lambda one: one.rows * one.tokens)
        # Packed rows have about equal lengths: any of them may have the most supervised tokens.
        largest = replace(largest, supervised_tokens=max(one.supervised_tokens for one in passes))
        return BatchShape(largest, batching.strategy, steps_per_epoch(passes, batching) * settings.epochs)

    return Planner(machine, lengths, estimate_memory, estimate_shape)


def plan_passes(base_folder: Path, settings: TrainingSettings, lengths: Lengths) -> tuple[list[Pass], Batching]:
    """Every pass of the first epoch that one process runs."""
    rows = _placeholder_rows(lengths)
    packed = pack_rows(rows, settings.max_length)
    facts = read_base_size(base_folder)
    share = attention_share(facts.hidden_size, facts.layers, facts.parameters)
    tokens = [len(ids) for ids in packed["input_ids"]]
    packing = settings.packing if select_engine(settings).can_pack else "never"
    batching = choose_batching(
        packing, lengths.tokens, tokens, settings.batch_size, settings.gradient_accumulation, share
    )
    chosen = packed if batching.strategy == "bfd" else rows
    row_tokens, supervised = [len(ids) for ids in chosen["input_ids"]], [sum(labels) for labels in chosen["labels"]]
    order = list(LengthSampler(row_tokens, batching.rows_per_step, settings.seed))
    steps = chunked(order, batching.rows_per_step)
    batching = distribute_batching(batching, settings.processes)
    # With several processes, the first: it gets the longest rows of each step.
    own_steps = (step[:: settings.processes] for step in steps)
    return [
        _make_pass(row_tokens, supervised, rows) for step in own_steps for rows in chunked(step, batching.rows_per_pass)
    ], batching


def _placeholder_rows(lengths: Lengths) -> Dataset:
    return Dataset.from_dict(
        {
            "input_ids": [[0] * tokens for tokens in lengths.tokens],
            "labels": [[1] * n + [0] * (t - n) for t, n in zip(lengths.tokens, lengths.supervised, strict=True)],
        }
    )


def _make_pass(tokens: Sequence[int], supervised: Sequence[int], rows: Sequence[int]) -> Pass:
    return Pass(len(rows), max(tokens[i] for i in rows), sum(supervised[i] for i in rows))


def split_lengths(rows: Iterable[RowLength], split: str) -> Lengths:
    """Lengths of the split's rows without errors."""
    chosen = [row for row in rows if row.split == split and not row.error]
    return Lengths(tuple(row.tokens or 0 for row in chosen), tuple(row.supervised_tokens or 0 for row in chosen))


def steps_per_epoch(passes: Sequence[Pass], batching: Batching) -> int:
    return -(-len(passes) // batching.passes_per_step)
