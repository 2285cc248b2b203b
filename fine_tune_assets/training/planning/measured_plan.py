"""Plans one training for this machine or a remote GPU: whether it fits, how long it takes, and what to change.

Collects the inputs of `resource_plan`: the machine, the lengths of rows and passes, and the time. Imports what training imports,
because on a CPU the libraries are part of its memory.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
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
from fine_tune_assets.training.lora.adapter_divergence import MEASURED_EXAMPLES
from fine_tune_assets.training.lora.batch_order import (
    Batching,
    LengthSampler,
    attention_share,
    choose_batching,
    chunked,
    distribute_batching,
    evaluation_batch_size,
    evaluation_steps,
    pack_rows,
)
from fine_tune_assets.training.lora.training_engines import select_engine
from fine_tune_assets.training.planning.peak_memory import measure_step_memory, read_base_size
from fine_tune_assets.training.planning.resource_plan import (
    BatchShape,
    Lengths,
    Machine,
    Plan,
    Planner,
    make_plan_row,
    remote_gpu_name,
)
from fine_tune_assets.training.planning.shapes import Pass
from fine_tune_assets.training.planning.step_time import measure_step_time

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
    train, validation = (split_lengths(lengths, split) for split in ("train", "validation"))
    require_gpus(settings.processes, gpu_memory_gb)
    machine = select_machine(gpu_memory_gb)
    planning = make_planner(base_folder, train, machine)
    plan = planning.plan_recipe(settings)
    progress(1, 2, "parts of the plan: memory")
    nearest = None if plan.fits else planning.find_nearest(settings)
    seconds = None
    # Time is measured only on the machine that trains, and only if the training fits.
    if plan.fits and not gpu_memory_gb and settings.processes == 1 and settings.engine == "trl":
        seconds = estimate_seconds(
            base_folder, plan, train.select_fitting(settings), validation.select_fitting(settings)
        )
    progress(2, 2, "parts of the plan: time")
    make_folder(checkpoints_dir)
    return make_plan_row(plan, nearest, machine, free_bytes(checkpoints_dir), seconds)


def plan_for_lengths(
    lengths: Lengths, base_folder: Path, settings: TrainingSettings, machine: Machine, disk_folder: Path
) -> dict[str, Any]:
    """`plan_training` for any machine and without the time. `disk_folder`: a folder on the disk for checkpoints."""
    planning = make_planner(base_folder, lengths, machine)
    plan = planning.plan_recipe(settings)
    return make_plan_row(
        plan, None if plan.fits else planning.find_nearest(settings), machine, free_bytes(disk_folder), None
    )


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
    examples = [len(parts) for parts in chosen["seq_lengths"]] if chosen is packed else [1] * len(row_tokens)
    order = list(LengthSampler(row_tokens, batching.rows_per_step, settings.seed))
    steps = chunked(order, batching.rows_per_step)
    batching = distribute_batching(batching, settings.processes)
    # With several processes, the first: it gets the longest rows of each step.
    own_steps = (step[:: settings.processes] for step in steps)
    return [
        _make_pass(row_tokens, supervised, examples, rows)
        for step in own_steps
        for rows in chunked(step, batching.rows_per_pass)
    ], batching


def _placeholder_rows(lengths: Lengths) -> Dataset:
    return Dataset.from_dict(
        {
            "input_ids": [[0] * tokens for tokens in lengths.tokens],
            "labels": [[1] * n + [0] * (t - n) for t, n in zip(lengths.tokens, lengths.supervised, strict=True)],
        }
    )


def _make_pass(tokens: Sequence[int], supervised: Sequence[int], examples: Sequence[int], rows: Sequence[int]) -> Pass:
    longest = max(rows, key=lambda i: tokens[i])
    return Pass(len(rows), tokens[longest], sum(supervised[i] for i in rows), examples[longest])


def split_lengths(rows: Iterable[RowLength], split: str) -> Lengths:
    """Lengths of the split's rows without errors."""
    chosen = [row for row in rows if row.split == split and not row.error]
    return Lengths(tuple(row.tokens or 0 for row in chosen), tuple(row.supervised_tokens or 0 for row in chosen))


def estimate_seconds(base_folder: Path, plan: Plan, train: Lengths, validation: Lengths) -> float:
    """Predicted duration on this machine: the isolation check of packed rows, the steps, the validation measurements, and the
    comparison with the base model."""
    settings = plan.settings
    passes, batching = plan_passes(base_folder, settings, train)
    times = measure_step_time(base_folder, settings, *choose_timed_passes(passes))
    steps = steps_per_epoch(passes, batching)
    evaluations = 1 + len(evaluation_steps(steps, settings.epochs, settings.evaluations_per_epoch))
    train_seconds = sum(times.training.seconds_for(one.rows * one.tokens) for one in passes) * settings.epochs
    rows = evaluation_batch_size(batching, settings.batch_size, validation.tokens, settings.max_length)
    batches = chunked(list(range(len(validation.tokens))), rows)
    evaluation_seconds = sum(
        times.evaluation.seconds_for(len(rows) * max(validation.tokens[i] for i in rows)) for rows in batches
    )
    # Some validation rows, one at a time, with and without the adapter.
    divergence_seconds = sum(
        2 * times.evaluation.seconds_for(tokens) for tokens in validation.tokens[:MEASURED_EXAMPLES]
    )
    isolation_seconds = (
        sum(map(times.evaluation.seconds_for, _isolation_lengths(train, settings.max_length)))
        if batching.strategy == "bfd"
        else 0.0
    )
    return times.warmup + isolation_seconds + train_seconds + evaluations * evaluation_seconds + divergence_seconds


def choose_timed_passes(passes: Sequence[Pass]) -> tuple[Pass, Pass]:
    """Two passes to time: a typical one and the largest. If all have about the same size, as packed rows do, the first is half of
    the largest, because a line through two near points does not predict short passes, such as single examples."""
    ordered = sorted(passes, key=lambda one: one.rows * one.tokens)
    # The same number of examples in both: a pass with a single example takes another code path.
    examples = max(1, round(median(one.examples for one in passes)))
    small, large = (replace(one, examples=examples) for one in (ordered[len(ordered) // 4], ordered[-1]))
    if small.tokens * small.rows > large.tokens * large.rows // 2 and large.tokens > 1:
        # At least two examples if there are several: a single one takes another code path.
        parts = max(min(examples, 2), examples // 2)
        small = replace(large, tokens=large.tokens // 2, supervised_tokens=large.supervised_tokens // 2, examples=parts)
    return small, large


def _isolation_lengths(train: Lengths, max_length: int) -> list[int]:
    """Tokens of each pass of the isolation check: one packed row, then each of its examples."""
    row = max(pack_rows(_placeholder_rows(train), max_length)["seq_lengths"], key=len)
    return [sum(row), *row]


def steps_per_epoch(passes: Sequence[Pass], batching: Batching) -> int:
    return -(-len(passes) // batching.passes_per_step)
