"""What a recipe may say of a sweep: which training settings are tried, and how many trials.

Owns the fields, their limits, and that every value that may be tried is one that training takes. Does not know how trials are
chosen.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

_STRICT = ConfigDict(extra="forbid")

SweptField = Literal[
    "rank", "alpha", "dropout", "learning_rate", "epochs", "batch_size", "gradient_accumulation", "warmup_fraction",
    "weight_decay",
]  # fmt: skip
"""Settings that change what is learned and how, and neither which examples nor what kind of adapter."""
WHOLE: frozenset[str] = frozenset({"rank", "alpha", "epochs", "batch_size", "gradient_accumulation"})
Number = int | float
Choices = Annotated[tuple[Number, ...], Field(min_length=1)]


@dataclass(frozen=True, config=_STRICT)
class Range:
    low: Number
    high: Number
    log: bool = False
    """Try 1e-5 to 1e-4 as often as 1e-4 to 1e-3."""

    @model_validator(mode="after")
    def _is_not_empty(self) -> "Range":
        if not self.low < self.high:
            raise ValueError("low must be below high")
        if self.log and self.low <= 0:
            raise ValueError("a range with log: true begins above 0")
        return self


def _kind(values: Any) -> str:
    return "range" if isinstance(values, dict | Range) else "list"


Tried = Annotated[Annotated[Choices, Tag("list")] | Annotated[Range, Tag("range")], Discriminator(_kind)]


@dataclass(frozen=True, config=_STRICT)
class SweepSettings:
    parameters: Annotated[dict[SweptField, Tried], Field(min_length=1)]
    """Field of `training` → the values to try, or the range to try values of."""
    seed: int
    """Decides which values are tried."""
    trials: Annotated[int, Field(gt=0)] | None = None
    """Trainings at most. Lists alone need none: then every combination is tried."""
    keep_adapters: bool = False
    """Whether the weights of the trials that lost stay on the disk. Their figures always do."""

    @model_validator(mode="after")
    def _is_possible(self) -> "SweepSettings":
        for name, values in self.parameters.items():
            _require_sound(name, values)
        size = self.grid_size
        if size is None and self.trials is None:
            raise ValueError("a range has no end of values: say how many trials")
        if size is not None and self.trials is not None and self.trials > size:
            raise ValueError(f"{self.trials} trials of {size} combinations: the grid has no more")
        return self

    @property
    def grid_size(self) -> int | None:
        """Number of combinations; None with a range in it."""
        lists = [values for values in self.parameters.values() if not isinstance(values, Range)]
        return math.prod(len(values) for values in lists) if len(lists) == len(self.parameters) else None

    @property
    def wanted(self) -> int:
        """Trials that make the sweep whole."""
        return self.trials or self.grid_size or 0


def _require_sound(name: str, values: tuple[Number, ...] | Range) -> None:
    numbers = numbers_of(values)
    if not isinstance(values, Range) and len(set(values)) < len(values):
        raise ValueError(f"{name} names a value twice")
    if name in WHOLE and any(number != int(number) for number in numbers):
        raise ValueError(f"{name} takes whole numbers")


def numbers_of(values: tuple[Number, ...] | Range) -> tuple[Number, ...]:
    """Every value of a list, both ends of a range."""
    return (values.low, values.high) if isinstance(values, Range) else values


def require_trainable(sweep: SweepSettings, training: Any) -> None:
    """Raise ValueError unless `training`, a TrainingSettings, takes every value and both ends of every range."""
    for name, number in _tried(sweep.parameters):
        try:
            TypeAdapter(type(training)).validate_python({**asdict(training), name: number})
        except ValidationError as error:
            raise ValueError(
                f"sweep.parameters.{name}: {number} can't be trained with: {error.errors()[0]['msg']}"
            ) from None


def _tried(parameters: Mapping[Any, tuple[Number, ...] | Range]) -> Iterator[tuple[str, Number]]:
    for name, values in parameters.items():
        for number in numbers_of(values):
            yield name, number
