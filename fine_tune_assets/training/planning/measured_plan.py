"""The plan of one training, on this machine or on a card that is not here: what fits, what it takes, and what to change.

Owns the order of the questions, and gathering what `resource_plan` decides from: the machine, the lengths of rows and passes, and
the time. Imports what training imports, since on a CPU that is part of what a training holds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch
from datasets import Dataset

import fine_tune_assets.training.lora.trainer  # noqa: F401 (its memory is counted)
from fine_tune_assets.core.files import make_folder
from fine_tune_assets.core.processes.memory import available_bytes
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.engines.transformers_models import best_device, use_threads
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.tables.records import Record
from fine_tune_assets.training.failures import TrainingError, free_bytes
from fine_tune_assets.training.lora.batches import (
    Batching,
    LengthBatches,
    attention_share,
    choose_batching,
    cut,
    evaluation_rows,
    evaluation_steps,
    pack,
    share_out,
)
from fine_tune_assets.training.lora.change_probe import PROBES
from fine_tune_assets.training.lora.training_engines import engine_of
from fine_tune_assets.training.planning.peak_memory import base_facts, step_memory
from fine_tune_assets.training.planning.resource_plan import Lengths, Machine, Plan, Planner, Shape, elsewhere, plan_row
from fine_tune_assets.training.planning.shapes import Pass
from fine_tune_assets.training.planning.step_time import measure_step_time

GIB = 2**30
GPU_CONTEXT_BYTES = 900_000_000
"""What CUDA's context and the libraries' workspaces take of a card beside torch's tensors: .5 to .9 GB by card and driver."""
GPU_SPARE = 0.95
"""Share of a card that tensors can fill: the rest is lost between torch's blocks."""


class RowLength(Record):
    """Of `example_lengths`."""

    split: str
    tokens: int | None
    learned: int | None
    fault: str | None


def plan_of_set(
    lengths: Sequence[RowLength],
    base_folder: Path,
    settings: TrainingSettings,
    checkpoints_dir: Path,
    threads: int,
    gpu_memory_gb: int,
    progress: Progress,
) -> dict[str, Any]:
    """`gpu_memory_gb`: of a GPU elsewhere; 0 asks this machine. Raises TrainingError."""
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
    lengths: Lengths, base_folder: Path, settings: TrainingSettings, machine: Machine, written_to: Path
) -> dict[str, Any]:
    """As `plan_of_set`, for any machine and without the time. `written_to`: a folder on the disk that checkpoints go to."""
    planning = planner(base_folder, lengths, machine)
    plan = planning.chosen(settings)
    return plan_row(plan, None if plan.fits else planning.nearest(settings), machine, free_bytes(written_to), None)


def plan_before_data(
    base_folder: Path, settings: TrainingSettings, machine: Machine, written_to: Path
) -> dict[str, Any]:
    """A step of rows that are all as long as they may be; how many steps there will be nobody knows."""
    step = settings.batch_size * settings.gradient_accumulation
    longest = (settings.max_length,) * step
    return {**plan_of_lengths(Lengths(longest, longest), base_folder, settings, machine, written_to), "steps": None}


def require_cards(processes: int, gpu_memory_gb: int) -> None:
    """Raise TrainingError if this machine has GPUs, and fewer than processes."""
    cards = torch.cuda.device_count() if torch.cuda.is_available() and not gpu_memory_gb else processes
    if processes > cards:
        raise TrainingError(
            f"training.processes is {processes}, and this machine has {cards} GPUs: each process needs one."
        )


def chosen_machine(gpu_memory_gb: int) -> Machine:
    return gpu_of(gpu_memory_gb * GIB, elsewhere(gpu_memory_gb)) if gpu_memory_gb else this_machine()


def this_machine() -> Machine:
    """Call it when everything is imported that training imports, and before there is a model."""
    if best_device() == "cuda":
        free, _ = torch.cuda.mem_get_info()
        return gpu_of(free, torch.cuda.get_device_properties(0).name)
    held = psutil.Process().memory_info().rss
    return Machine("this machine's memory", False, held + available_bytes(), held)


def gpu_of(memory_bytes: int, name: str) -> Machine:
    return Machine(name, True, int(memory_bytes * GPU_SPARE), GPU_CONTEXT_BYTES)


def planner(base_folder: Path, lengths: Lengths, machine: Machine) -> Planner:
    """What it plans of `base_folder` is read from config.json alone."""

    def memory_of(settings: TrainingSettings, one: Pass) -> Any:
        found = step_memory(base_folder, settings, one, machine.is_gpu, settings.computes_again(machine.is_gpu))
        if settings.sharding == "none":
            return found
        # A plain model is loaded into the machine's memory, one in 4 bits on the card.
        return found.shard(settings.processes, loads_whole=not machine.is_gpu or settings.method == "qlora")

    def shape_of(settings: TrainingSettings, kept: Lengths) -> Shape:
        passes, batching = passes_of(base_folder, settings, kept)
        largest = max(passes, key=lambda one: one.rows * one.tokens)
        # Packed rows are all about as long: the one that learns most may be any of them.
        largest = replace(largest, learned=max(one.learned for one in passes))
        return Shape(largest, batching.strategy, steps_of(passes, batching) * settings.epochs)

    return Planner(machine, lengths, memory_of, shape_of)


def passes_of(base_folder: Path, settings: TrainingSettings, lengths: Lengths) -> tuple[list[Pass], Batching]:
    """Every pass of the first epoch, as one process makes them or its share of them."""
    rows = _rows_of(lengths)
    packed = pack(rows, settings.max_length)
    facts = base_facts(base_folder)
    share = attention_share(facts.hidden_size, facts.layers, facts.parameters)
    tokens = [len(ids) for ids in packed["input_ids"]]
    packing = settings.packing if engine_of(settings).packs else "never"
    batching = choose_batching(
        packing, lengths.tokens, tokens, settings.batch_size, settings.gradient_accumulation, share
    )
    chosen = packed if batching.strategy == "bfd" else rows
    row_tokens, learned = [len(ids) for ids in chosen["input_ids"]], [sum(labels) for labels in chosen["labels"]]
    examples = [len(parts) for parts in chosen["seq_lengths"]] if chosen is packed else [1] * len(row_tokens)
    order = list(LengthBatches(row_tokens, batching.rows_per_step, settings.seed))
    steps = cut(order, batching.rows_per_step)
    batching = share_out(batching, settings.processes)
    # Of several processes the first one's: its rows are the longest of each step.
    taken = (step[:: settings.processes] for step in steps)
    return [
        _pass(row_tokens, learned, examples, rows) for step in taken for rows in cut(step, batching.rows_per_pass)
    ], batching


def _rows_of(lengths: Lengths) -> Dataset:
    return Dataset.from_dict(
        {
            "input_ids": [[0] * tokens for tokens in lengths.tokens],
            "labels": [[1] * n + [0] * (t - n) for t, n in zip(lengths.tokens, lengths.learned, strict=True)],
        }
    )


def _pass(tokens: Sequence[int], learned: Sequence[int], examples: Sequence[int], rows: Sequence[int]) -> Pass:
    longest = max(rows, key=lambda i: tokens[i])
    return Pass(len(rows), tokens[longest], sum(learned[i] for i in rows), examples[longest])


def lengths_of(rows: Iterable[RowLength], split: str) -> Lengths:
    """Of the rows without a fault."""
    chosen = [row for row in rows if row.split == split and not row.fault]
    return Lengths(tuple(row.tokens or 0 for row in chosen), tuple(row.learned or 0 for row in chosen))


def seconds_of(base_folder: Path, plan: Plan, train: Lengths, validation: Lengths) -> float:
    """How long the planned training takes here: the proof that packed rows are kept apart, its steps, its measurements of the
    validation loss, and the comparison with the base model at its end."""
    settings = plan.settings
    passes, batching = passes_of(base_folder, settings, train)
    found = measure_step_time(base_folder, settings, *timed_passes(passes))
    steps = steps_of(passes, batching)
    evaluations = 1 + len(evaluation_steps(steps, settings.epochs, settings.evaluations_per_epoch))
    learning = sum(found.learning.of(one.rows * one.tokens) for one in passes) * settings.epochs
    rows = evaluation_rows(batching, settings.batch_size, validation.tokens, settings.max_length)
    read = cut(list(range(len(validation.tokens))), rows)
    reading = sum(found.reading.of(len(rows) * max(validation.tokens[i] for i in rows)) for rows in read)
    # Of some validation rows, one by one, with the adapter and without.
    probing = sum(2 * found.reading.of(tokens) for tokens in validation.tokens[:PROBES])
    proving = sum(map(found.reading.of, _proven(train, settings.max_length))) if batching.strategy == "bfd" else 0.0
    return found.warming_up + proving + learning + evaluations * reading + probing


def timed_passes(passes: Sequence[Pass]) -> tuple[Pass, Pass]:
    """The two that are timed: a usual one and the largest, or half of that where all are about as large, as packed rows are. The
    line through two near each other says nothing of a shorter one, such as an example of a packed row by itself."""
    ordered = sorted(passes, key=lambda one: one.rows * one.tokens)
    # Both read alike: packed rows are, and one that a single example fills would stand for a line of its own.
    examples = max(1, round(median(one.examples for one in passes)))
    small, large = (replace(one, examples=examples) for one in (ordered[len(ordered) // 4], ordered[-1]))
    if small.tokens * small.rows > large.tokens * large.rows // 2 and large.tokens > 1:
        # Two at least, where there are several: one by itself is read another way.
        parts = max(min(examples, 2), examples // 2)
        small = replace(large, tokens=large.tokens // 2, learned=large.learned // 2, examples=parts)
    return small, large


def _proven(train: Lengths, max_length: int) -> list[int]:
    """Tokens of each reading that shows that examples don't see each other: of one packed row, and of its examples."""
    apart = max(pack(_rows_of(train), max_length)["seq_lengths"], key=len)
    return [sum(apart), *apart]


def steps_of(passes: Sequence[Pass], batching: Batching) -> int:
    """Of one epoch."""
    return -(-len(passes) // batching.passes_per_step)
