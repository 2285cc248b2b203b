"""What a training will take, before it is started: memory at its peak, disk and time; and the nearest one that fits.

Owns which pass through the model is the largest, whether it fits, and what to change if it does not. How much one step holds is
`peak_memory`'s, how long it takes `step_time`'s.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.training.shapes import Pass, StepMemory

CHECKPOINT_COPIES = 10
"""Of the adapter's bytes: three checkpoints of weights and AdamW's two numbers for each, and the adapter itself."""
TOLERANCE = 0.15
"""How far the plan's memory may be from what is measured."""


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

    @property
    def longest(self) -> int:
        return max(self.tokens)


@dataclass(frozen=True)
class Plan:
    settings: TrainingSettings
    largest: Pass
    packing: str
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


MemoryOf = Callable[[TrainingSettings, Pass], StepMemory]
ShapeOf = Callable[[TrainingSettings, Lengths], tuple[Pass, str]]
"""The largest pass, and `bfd` or `never`."""


class Planner:
    """Plans of one base model on one machine. `memory_of` takes seconds: what it was asked once it is not asked again."""

    def __init__(self, machine: Machine, lengths: Lengths, memory_of: MemoryOf, shape_of: ShapeOf) -> None:
        self._machine, self._lengths, self._shape_of = machine, lengths, shape_of
        self._memory_of = memory_of
        self._known: dict[tuple[Any, ...], StepMemory] = {}

    def plan(self, settings: TrainingSettings) -> Plan:
        """Whether it fits or not. Raises ValueError if max_length leaves nothing."""
        kept = [i for i, tokens in enumerate(self._lengths.tokens) if tokens <= settings.max_length]
        lengths = Lengths(*(tuple(v[i] for i in kept) for v in (self._lengths.tokens, self._lengths.learned)))
        if not kept:
            raise ValueError(f"max_length {settings.max_length} leaves no example")
        largest, packing = self._shape_of(settings, lengths)
        memory = self._ask(settings, largest)
        return Plan(
            settings=settings,
            largest=largest,
            packing=packing,
            memory=memory,
            library_bytes=self._machine.library_bytes,
            limit_bytes=self._machine.memory_bytes,
            disk_bytes=CHECKPOINT_COPIES * memory.adapter,
            left_out=len(self._lengths.tokens) - len(kept),
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
    if not (is_gpu if settings.gradient_checkpointing is None else settings.gradient_checkpointing):
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
    shown = (f"{name}: {str(value).lower() if isinstance(value, bool) else value}" for name, value in changed.items())
    return ", ".join(shown)
