"""The section `sweep` of a recipe: the training settings to try, and the number of trials."""

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
"""Settings that change neither the examples nor the kind of adapter."""
INTEGER_FIELDS: frozenset[str] = frozenset({"rank", "alpha", "epochs", "batch_size", "gradient_accumulation"})
Number = int | float
Choices = Annotated[tuple[Number, ...], Field(min_length=1)]


@dataclass(frozen=True, config=_STRICT)
class Range:
    """A range of values to try."""

    low: Number
    """Lowest value."""
    high: Number
    """Highest value."""
    log: bool = False
    """Whether values are drawn on a logarithmic scale."""

    @model_validator(mode="after")
    def _check_bounds(self) -> "Range":
        if not self.low < self.high:
            raise ValueError("low must be below high")
        if self.log and self.low <= 0:
            raise ValueError("a range with log: true must be above 0")
        return self


def _space_kind(values: Any) -> str:
    return "range" if isinstance(values, dict | Range) else "list"


SearchSpace = Annotated[Annotated[Choices, Tag("list")] | Annotated[Range, Tag("range")], Discriminator(_space_kind)]


@dataclass(frozen=True, config=_STRICT)
class SweepSettings:
    """Several trainings with different settings. The best on validation becomes the candidate. Without this section, there is
    one training.
    """

    parameters: Annotated[dict[SweptField, SearchSpace], Field(min_length=1)]
    """Values to try, as a list or a range, by field of `training`."""
    seed: int
    """Random seed of the choice of values."""
    trials: Annotated[int, Field(gt=0)] | None = None
    """Maximum number of trainings; required with a range; null: every combination."""
    keep_adapters: bool = False
    """Whether the weights of the other trials are kept; their metrics always are."""

    @model_validator(mode="after")
    def _check_grid(self) -> "SweepSettings":
        for name, values in self.parameters.items():
            _require_valid_values(name, values)
        size = self.grid_size
        if size is None and self.trials is None:
            raise ValueError("a range needs trials, the maximum number of trainings")
        if size is not None and self.trials is not None and self.trials > size:
            raise ValueError(f"{self.trials} trials exceed the {size} combinations of the grid")
        return self

    @property
    def grid_size(self) -> int | None:
        """Number of combinations; None if there is a range."""
        lists = [values for values in self.parameters.values() if not isinstance(values, Range)]
        return math.prod(len(values) for values in lists) if len(lists) == len(self.parameters) else None

    @property
    def trial_count(self) -> int:
        """Number of trials in the complete sweep."""
        return self.trials or self.grid_size or 0


def _require_valid_values(name: str, values: tuple[Number, ...] | Range) -> None:
    numbers = boundary_values(values)
    if not isinstance(values, Range) and len(set(values)) < len(values):
        raise ValueError(f"{name} contains a value twice")
    if name in INTEGER_FIELDS and any(number != int(number) for number in numbers):
        raise ValueError(f"{name} must be whole numbers")


def boundary_values(values: tuple[Number, ...] | Range) -> tuple[Number, ...]:
    """All values of a list, or both ends of a range."""
    return (values.low, values.high) if isinstance(values, Range) else values


def require_trainable(sweep: SweepSettings, training: Any) -> None:
    """Raise ValueError unless all values and both ends of all ranges are valid for `training`, a TrainingSettings."""
    for name, number in _iter_values(sweep.parameters):
        try:
            TypeAdapter(type(training)).validate_python({**asdict(training), name: number})
        except ValidationError as error:
            raise ValueError(
                f"sweep.parameters.{name}: {number} is not a valid training setting: {error.errors()[0]['msg']}"
            ) from None


def _iter_values(parameters: Mapping[Any, tuple[Number, ...] | Range]) -> Iterator[tuple[str, Number]]:
    for name, values in parameters.items():
        for number in boundary_values(values):
            yield name, number
