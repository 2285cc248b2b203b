"""What a training will take, before it is started: memory at its peak, disk and time; and the nearest one that fits.

Owns which pass through the model is the largest, whether it fits, and what to change if it does not. How much one step holds is
`peak_memory`'s, how long it takes `step_time`'s.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.recipes.schema import Recipe, TrainingSettings
from fine_tune_assets.recipes.sweep import SweptField, numbers_of
from fine_tune_assets.tables.training import TrainingPlan
from fine_tune_assets.training.checkpoints import CHECKPOINT_COPIES
from fine_tune_assets.training.planning.shapes import Pass, StepMemory

TOLERANCE = 0.15
"""How far a plan may be from what is measured."""
FREE_DISK = "more room on the disk"
PARTS = ("weights", "adapter", "gradients", "optimizer", "activations")
_HOLD_MORE: tuple[SweptField, ...] = ("rank", "batch_size")
"""Settings of a trial with which it holds more."""


def most_that_is_tried(recipe: Recipe) -> TrainingSettings:
    """The recipe's settings; in a sweep with the largest rank and batch of any trial, which hold most."""
    parameters = recipe.sweep.parameters if recipe.sweep else {}
    largest: dict[str, Any] = {
        name: int(max(numbers_of(parameters[name]))) for name in _HOLD_MORE if name in parameters
    }
    return replace(recipe.training, **largest)


@dataclass(frozen=True)
class Machine:
    """Where it would be trained."""

    name: str
    is_gpu: bool
    memory_bytes: int
    """What one process may hold."""
    library_bytes: int
    """What it holds before there is a model: on a CPU the libraries, on a GPU the driver's context."""


@dataclass(frozen=True)
class Lengths:
    """Of the examples that are trained on, in tokens."""

    tokens: tuple[int, ...]
    learned: tuple[int, ...]

    def within(self, settings: TrainingSettings) -> "Lengths":
        """Those that max_length leaves."""
        kept = [i for i, tokens in enumerate(self.tokens) if tokens <= settings.max_length]
        return Lengths(tuple(self.tokens[i] for i in kept), tuple(self.learned[i] for i in kept))


@dataclass(frozen=True)
class Shape:
    """How rows go through the model."""

    largest: Pass
    packing: str
    """`bfd` or `never`."""
    steps: int
    """Of all epochs."""


@dataclass(frozen=True)
class Plan:
    settings: TrainingSettings
    shape: Shape
    memory: StepMemory
    library_bytes: int
    limit_bytes: int
    disk_bytes: int
    left_out: int = 0
    """Examples that are longer than max_length."""

    @property
    def peak_bytes(self) -> int:
        return self.library_bytes + self.memory.total

    @property
    def fits(self) -> bool:
        return self.peak_bytes <= self.limit_bytes


def plan_row(
    plan: Plan, nearest: Plan | None, machine: Machine, free_disk: int, seconds: float | None
) -> dict[str, Any]:
    """Of the table training_plans, but for what it is bound to."""
    settings, shape = plan.settings, plan.shape
    why = _why_not(plan, machine, free_disk)
    return {
        "machine": machine.name,
        "processes": settings.processes,
        "packing": shape.packing,
        "batch_size": settings.batch_size,
        "gradient_accumulation": settings.gradient_accumulation,
        "largest_rows": shape.largest.rows,
        "largest_tokens": shape.largest.tokens,
        **{f"{part}_bytes": getattr(plan.memory, part) for part in PARTS},
        "library_bytes": plan.library_bytes,
        "peak_bytes": plan.peak_bytes,
        "limit_bytes": plan.limit_bytes,
        "disk_bytes": plan.disk_bytes,
        "free_disk_bytes": free_disk,
        "steps": shape.steps,
        "seconds": seconds,
        "fits": not why,
        "why": why,
        "nearest": _nearest_in_words(plan, nearest, is_disk_short=plan.disk_bytes > free_disk),
    }


def _nearest_in_words(plan: Plan, nearest: Plan | None, is_disk_short: bool) -> str | None:
    if plan.fits:
        return FREE_DISK if is_disk_short else None
    return None if nearest is None else changes_in_words(plan.settings, nearest.settings)


def _why_not(plan: Plan, machine: Machine, free_disk: int) -> str:
    reasons = []
    if not plan.fits:
        needed, limit = (_gb(value) for value in (plan.peak_bytes, plan.limit_bytes))
        reasons.append(f"It needs {needed} of memory, and {machine.name} has {limit} for it.")
    if plan.disk_bytes > free_disk:
        reasons.append(
            f"Checkpoints and adapter need {_gb(plan.disk_bytes)}, and {_gb(free_disk)} of the disk are free."
        )
    return " ".join(reasons)


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"


ELSEWHERE = "a GPU of "


def elsewhere(gpu_memory_gb: int) -> str:
    """Name of a GPU that is not this machine's."""
    return f"{ELSEWHERE}{gpu_memory_gb} GiB"


class PlanError(GateClosedError):
    """Training may not start: nobody planned it, what was planned is another training, or it does not fit."""


def require_plan(plans: Sequence[TrainingPlan], gpu_memory_gb: int, **bound: str) -> TrainingPlan:
    """The gate: the plan of exactly this set, base model and settings, where it will be trained, and it fits. Raises PlanError.

    `gpu_memory_gb`: of the GPU elsewhere that trains; 0 for this machine.
    """
    if len(plans) != 1:
        raise PlanError(f"No training plan found. {materialize_hint('training_plans')}")
    plan = plans[0]
    other = sorted(name.removesuffix("_fingerprint") for name, value in bound.items() if getattr(plan, name) != value)
    if other:
        raise PlanError(
            f"The plan is of another {', '.join(other)} than is to be trained. {materialize_hint('training_plans')}"
        )
    if plan.machine != elsewhere(gpu_memory_gb) and (gpu_memory_gb or plan.machine.startswith(ELSEWHERE)):
        raise PlanError(
            f"The plan is for {plan.machine}, where nothing is trained now. {materialize_hint('training_plans')}"
        )
    if not plan.fits:
        raise PlanError(f"{plan.why} {advice(plan.nearest)}")
    return plan


def advice(nearest: str | None) -> str:
    """What to do about a plan that does not fit."""
    if nearest == FREE_DISK:
        return f"Make room on the disk. {materialize_hint('training_plans')}"
    change = (
        f"In the recipe's training section set {nearest}, or"
        if nearest
        else "No smaller batch or shorter example fits:"
    )
    return f"{change} use a machine with more memory. {materialize_hint('training_plans')}"


def is_as_planned(planned: float, measured: float) -> bool:
    """Within `TOLERANCE`."""
    return abs(measured - planned) <= TOLERANCE * planned


ShapeOf = Callable[[TrainingSettings, Lengths], Shape]
MemoryOf = Callable[[TrainingSettings, Pass], StepMemory]


class Planner:
    """Plans of one base model on one machine. `memory_of` takes seconds: what it was asked once it is not asked again."""

    def __init__(self, machine: Machine, lengths: Lengths, memory_of: MemoryOf, shape_of: ShapeOf) -> None:
        self._machine, self._lengths, self._shape_of = machine, lengths, shape_of
        self._memory_of = memory_of
        self._known: dict[tuple[Any, ...], StepMemory] = {}

    def plan(self, settings: TrainingSettings) -> Plan:
        """Whether it fits or not. Raises PlanError if max_length leaves nothing."""
        lengths = self._lengths.within(settings)
        if not lengths.tokens:
            raise PlanError("No example fits into training.max_length: there is nothing to plan.")
        shape = self._shape_of(settings, lengths)
        memory = self._ask(settings, shape.largest)
        # Each process has a GPU of its own; without one they share the machine's memory.
        sharing = 1 if self._machine.is_gpu else settings.processes
        return Plan(
            settings=settings,
            shape=shape,
            memory=memory,
            library_bytes=self._machine.library_bytes,
            limit_bytes=self._machine.memory_bytes // sharing,
            # Checkpoints are whole, whoever holds which part.
            disk_bytes=CHECKPOINT_COPIES * memory.adapter * (settings.processes if settings.sharding == "fsdp2" else 1),
            left_out=len(self._lengths.tokens) - len(lengths.tokens),
        )

    def chosen(self, settings: TrainingSettings) -> Plan:
        """The recipe's own plan; with `fit_batch_size` the largest batch of the same step that fits, if one does."""
        if not settings.fit_batch_size:
            return self.plan(settings)
        plans = (self.plan(split) for split in splits(settings))
        return next((plan for plan in plans if plan.fits), None) or self.plan(settings)

    def nearest(self, settings: TrainingSettings) -> Plan | None:
        """The plan that fits and changes least: a smaller batch with the same step, then activations computed again, then a
        base in 4 bits, then shorter examples. None if nothing does."""
        for changed in _changes(settings, self._machine.is_gpu):
            plan = self.plan(changed)
            if plan.fits:
                return plan
        return self._shorter(changed)

    def _shorter(self, settings: TrainingSettings) -> Plan | None:
        """The longest max_length that fits, among the lengths that there are."""
        lengths = sorted({t for t in self._lengths.tokens if t < settings.max_length})
        low, high, found = 0, len(lengths) - 1, None
        while low <= high:
            middle = (low + high) // 2
            plan = self.plan(replace(settings, max_length=lengths[middle]))
            if plan.fits:
                found, low = plan, middle + 1
            else:
                high = middle - 1
        return found

    def _ask(self, settings: TrainingSettings, one: Pass) -> StepMemory:
        modules = settings.target_modules
        key = (settings.method, settings.rank, modules, settings.dropout > 0, settings.gradient_checkpointing, one)
        if key not in self._known:
            self._known[key] = self._memory_of(settings, one)
        return self._known[key]


def splits(settings: TrainingSettings) -> Iterator[TrainingSettings]:
    """Every way to split one step into passes of equal batches, the largest batch first."""
    step = settings.batch_size * settings.gradient_accumulation
    for batch in range(step, 0, -1):
        if step % batch == 0:
            yield replace(settings, batch_size=batch, gradient_accumulation=step // batch)


def _changes(settings: TrainingSettings, is_gpu: bool) -> Iterator[TrainingSettings]:
    smaller = [split for split in splits(settings) if split.batch_size < settings.batch_size]
    yield from smaller
    least = smaller[-1] if smaller else settings
    if not settings.computes_again(is_gpu):
        again = [replace(split, gradient_checkpointing=True) for split in (settings, *smaller)]
        yield from again
        least = again[-1]
    if settings.method == "lora":
        packed = [replace(split, method="qlora", gradient_checkpointing=True) for split in (settings, *smaller)]
        yield from packed
        least = packed[-1]
    yield least


def changes_in_words(before: TrainingSettings, after: TrainingSettings) -> str:
    """What to write into the recipe."""
    names = ("batch_size", "gradient_accumulation", "gradient_checkpointing", "method", "max_length")
    changed = {name: getattr(after, name) for name in names if getattr(after, name) != getattr(before, name)}
    if "max_length" in changed and before.too_long == "refuse":
        changed["too_long"] = "leave_out"
    shown = (f"{name}: {str(value).lower() if isinstance(value, bool) else value}" for name, value in changed.items())
    return ", ".join(shown)
