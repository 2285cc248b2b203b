"""Whether a training taught its model anything: what must be true before a GPU hour is spent on judging it.

Owns that decision, which the checks of an adapter show and which every step behind it takes again. Does not measure.
"""

from collections.abc import Mapping
from typing import Any

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.hints import materialize_hint

SMALLEST_CHANGE = 1e-4
"""Nats a token. Rounding to 16 bits makes 1e-6 to 4e-3 (docs/decisions/0002-merged-dtype.md), but base and adapter are in one
format here, where an adapter that changes nothing makes 0; the demo's makes about 1."""


class NothingLearnedError(GateClosedError):
    """The adapter answers as the base model does, or no better on examples that it did not see."""


def is_changed(divergence: float | None) -> bool:
    """`divergence`: KL from the base model in nats a token; None was not measured."""
    return divergence is not None and divergence >= SMALLEST_CHANGE


def has_better_loss(before: float, best: float) -> bool:
    return best < before


def require_learned(adapter: Mapping[str, Any]) -> None:
    """`adapter`: a row of the table adapters. Raises NothingLearnedError."""
    if not is_changed(adapter["base_divergence"]):
        raise NothingLearnedError(
            "The adapter answers as the base model does, or nobody measured whether it does. If it was measured, raise the "
            f"learning rate in the recipe. {materialize_hint('adapters')}"
        )
    if not has_better_loss(adapter["first_validation_loss"], adapter["best_validation_loss"]):
        raise NothingLearnedError(
            "Training did not lower the loss on examples that it did not see: there is nothing to judge. Change the learning "
            "rate or the number of epochs in the recipe, or add examples."
        )
