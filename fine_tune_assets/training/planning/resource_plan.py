"""Decides whether a training fits (peak memory, disk), and which nearest change would fit.

Finds the largest pass. `peak_memory` computes the memory of a step.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.tables.training_rows import TrainingPlan
from fine_tune_assets.training.checkpoints import CHECKPOINT_COPIES
from fine_tune_assets.training.planning.shapes import Pass, StepMemory

TOLERANCE = 0.15
"""Allowed relative error of a plan."""
MORE_DISK = "more free disk space"
PARTS = ("weights", "adapter", "gradients", "optimizer", "activations")


@dataclass(frozen=True)
class Machine:
    """The machine of the training."""

    name: str
    is_gpu: bool
    memory_bytes: int
    """Memory that one process may use."""
    library_bytes: int
    """Memory before a model is loaded: the libraries on a CPU, the driver's context on a GPU."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of each training example."""

    tokens: tuple[int, ...]
    supervised: tuple[int, ...]

    def select_fitting(self, settings: TrainingSettings) -> "Lengths":
        """The examples within max_length."""
        indices = [i for i, tokens in enumerate(self.tokens) if tokens <= settings.max_length]
        return Lengths(tuple(self.tokens[i] for i in indices), tuple(self.supervised[i] for i in indices))


@dataclass(frozen=True)
class BatchShape:
    """How rows are batched."""

    largest: Pass
    packing: str
    """`bfd` or `never`."""
    steps: int
    """In all epochs."""


@dataclass(frozen=True)
class Plan:
    settings: TrainingSettings
    shape: BatchShape
    memory: StepMemory
    library_bytes: int
    limit_bytes: int
    disk_bytes: int
    excluded_examples: int = 0
    """Number of examples longer than max_length."""

    @property
    def peak_bytes(self) -> int:
        return self.library_bytes + self.memory.total

    @property
    def fits(self) -> bool:
        return self.peak_bytes <= self.limit_bytes


def make_plan_row(plan: Plan, nearest: Plan | None, machine: Machine, free_disk: int) -> dict[str, Any]:
    """A row of the table training_plans without its fingerprints."""
    settings, shape = plan.settings, plan.shape
    shortfall = _describe_shortage(plan, machine, free_disk)
    return {
        "machine": machine.name,
        "process_count": settings.processes,
        "packing": shape.packing,
        "batch_size": settings.batch_size,
        "gradient_accumulation": settings.gradient_accumulation,
        "max_batch_rows": shape.largest.rows,
        "max_row_tokens": shape.largest.tokens,
        **{f"{part}_bytes": getattr(plan.memory, part) for part in PARTS},
        "library_bytes": plan.library_bytes,
        "peak_bytes": plan.peak_bytes,
        "limit_bytes": plan.limit_bytes,
        "disk_bytes": plan.disk_bytes,
        "free_disk_bytes": free_disk,
        "steps": shape.steps,
        "fits": not shortfall,
        "shortfall": shortfall,
        "suggestion": _suggest_change(plan, nearest, is_disk_short=plan.disk_bytes > free_disk),
    }


def _suggest_change(plan: Plan, nearest: Plan | None, is_disk_short: bool) -> str | None:
    if plan.fits:
        return MORE_DISK if is_disk_short else None
    return None if nearest is None else describe_changes(plan.settings, nearest.settings)


def _describe_shortage(plan: Plan, machine: Machine, free_disk: int) -> str:
    reasons = []
    if not plan.fits:
        needed, limit = (_format_gb(value) for value in (plan.peak_bytes, plan.limit_bytes))
        reasons.append(f"The training needs {needed} of memory, but {machine.name} has only {limit}.")
    if plan.disk_bytes > free_disk:
        reasons.append(
            f"Checkpoints and adapter need {_format_gb(plan.disk_bytes)}, but only {_format_gb(free_disk)} are free on the disk."
        )
    return " ".join(reasons)


def _format_gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"


REMOTE_GPU_PREFIX = "remote GPU, "


def remote_gpu_name(gpu_memory_gb: int) -> str:
    """Name of a GPU on another machine."""
    return f"{REMOTE_GPU_PREFIX}{gpu_memory_gb} GiB"


class PlanError(GateClosedError):
    """Training may not start: it has no plan, the plan is for another training, or it does not fit."""


def require_plan(plans: Sequence[TrainingPlan], gpu_memory_gb: int, **bound: str) -> TrainingPlan:
    """Gate: returns the plan of exactly this set, base model and settings, on this machine, if it fits. Raises PlanError.

    `gpu_memory_gb`: of the remote GPU that trains; 0 for this machine.
    """
    if len(plans) != 1:
        raise PlanError(f"No training plan found. {materialize_hint('training_plans')}")
    plan = plans[0]
    mismatches = sorted(
        name.removesuffix("_fingerprint") for name, value in bound.items() if getattr(plan, name) != value
    )
    if mismatches:
        raise PlanError(
            f"The training plan is for another {', '.join(mismatches)}. {materialize_hint('training_plans')}"
        )
    if plan.machine != remote_gpu_name(gpu_memory_gb) and (gpu_memory_gb or plan.machine.startswith(REMOTE_GPU_PREFIX)):
        raise PlanError(
            f"The training plan is for another machine ({plan.machine}). {materialize_hint('training_plans')}"
        )
    if not plan.fits:
        raise PlanError(f"{plan.shortfall} {suggest_fix(plan.suggestion)}")
    return plan


def suggest_fix(suggestion: str | None) -> str:
    """How to fix a plan that does not fit."""
    if suggestion == MORE_DISK:
        return f"Free some disk space. {materialize_hint('training_plans')}"
    change = (
        f"In the recipe's training section set {suggestion}, or"
        if suggestion
        else "No smaller batch and no lower max_length fits:"
    )
    return f"{change} use a machine with more memory. {materialize_hint('training_plans')}"


def is_within_tolerance(planned: float, measured: float) -> bool:
    return abs(measured - planned) <= TOLERANCE * planned


ShapeEstimator = Callable[[TrainingSettings, Lengths], BatchShape]
MemoryEstimator = Callable[[TrainingSettings, Pass], StepMemory]


class Planner:
    """Plans of one base model on one machine. Results of `estimate_memory`, which takes seconds, are cached."""

    def __init__(
        self, machine: Machine, lengths: Lengths, estimate_memory: MemoryEstimator, estimate_shape: ShapeEstimator
    ) -> None:
        self._machine, self._lengths, self._estimate_shape = machine, lengths, estimate_shape
        self._estimate_memory = estimate_memory
        self._cache: dict[tuple[Any, ...], StepMemory] = {}

    def plan(self, settings: TrainingSettings) -> Plan:
        """A plan that may or may not fit. Raises PlanError if no example is within max_length."""
        lengths = self._lengths.select_fitting(settings)
        if not lengths.tokens:
            raise PlanError("No example fits into training.max_length. Raise it in the recipe.")
        shape = self._estimate_shape(settings, lengths)
        memory = self._memory_for(settings, shape.largest)
        # Each process has its own GPU; without GPUs they share the machine's memory.
        sharing = 1 if self._machine.is_gpu else settings.processes
        return Plan(
            settings=settings,
            shape=shape,
            memory=memory,
            library_bytes=self._machine.library_bytes,
            limit_bytes=self._machine.memory_bytes // sharing,
            # Checkpoints are not sharded.
            disk_bytes=CHECKPOINT_COPIES * memory.adapter * (settings.processes if settings.sharding == "fsdp2" else 1),
            excluded_examples=len(self._lengths.tokens) - len(lengths.tokens),
        )

    def plan_recipe(self, settings: TrainingSettings) -> Plan:
        """The recipe's plan; with `fit_batch_size`, the largest batch with the same step that fits, if any."""
        if not settings.fit_batch_size:
            return self.plan(settings)
        plans = (self.plan(split) for split in batch_options(settings))
        return next((plan for plan in plans if plan.fits), None) or self.plan(settings)

    def find_nearest(self, settings: TrainingSettings) -> Plan | None:
        """The plan that fits with the least change: a smaller batch with the same step, then gradient checkpointing, then a 4-bit
        base model, then shorter examples. None if none fits."""
        for changed in _fallbacks(settings, self._machine.is_gpu):
            plan = self.plan(changed)
            if plan.fits:
                return plan
        return self._find_longest_fit(changed)

    def _find_longest_fit(self, settings: TrainingSettings) -> Plan | None:
        """The longest max_length that fits, among the lengths of the examples."""
        lengths = sorted({t for t in self._lengths.tokens if t < settings.max_length})
        low, high, best = 0, len(lengths) - 1, None
        while low <= high:
            middle = (low + high) // 2
            plan = self.plan(replace(settings, max_length=lengths[middle]))
            if plan.fits:
                best, low = plan, middle + 1
            else:
                high = middle - 1
        return best

    def _memory_for(self, settings: TrainingSettings, one: Pass) -> StepMemory:
        modules = settings.target_modules
        key = (settings.method, settings.rank, modules, settings.dropout > 0, settings.gradient_checkpointing, one)
        if key not in self._cache:
            self._cache[key] = self._estimate_memory(settings, one)
        return self._cache[key]


def batch_options(settings: TrainingSettings) -> Iterator[TrainingSettings]:
    """Every split of one step into passes of equal batches, the largest batch first."""
    step = settings.batch_size * settings.gradient_accumulation
    for batch in range(step, 0, -1):
        if step % batch == 0:
            yield replace(settings, batch_size=batch, gradient_accumulation=step // batch)


def _fallbacks(settings: TrainingSettings, is_gpu: bool) -> Iterator[TrainingSettings]:
    smaller = [split for split in batch_options(settings) if split.batch_size < settings.batch_size]
    yield from smaller
    least = smaller[-1] if smaller else settings
    if not settings.recomputes_activations(is_gpu):
        checkpointed = [replace(split, gradient_checkpointing=True) for split in (settings, *smaller)]
        yield from checkpointed
        least = checkpointed[-1]
    if settings.method == "lora":
        quantized = [replace(split, method="qlora", gradient_checkpointing=True) for split in (settings, *smaller)]
        yield from quantized
        least = quantized[-1]
    yield least


def describe_changes(before: TrainingSettings, after: TrainingSettings) -> str:
    """The changed settings, as written in the recipe."""
    names = ("batch_size", "gradient_accumulation", "gradient_checkpointing", "method", "max_length")
    changed = {name: getattr(after, name) for name in names if getattr(after, name) != getattr(before, name)}
    if "max_length" in changed and before.overlong_examples == "refuse":
        changed["overlong_examples"] = "exclude"
    lines = (f"{name}: {str(value).lower() if isinstance(value, bool) else value}" for name, value in changed.items())
    return ", ".join(lines)
